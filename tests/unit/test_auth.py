"""The login: when a token is renewed, by what, and what a refusal means."""

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import SecretStr

from jobfetcher.api import errors
from jobfetcher.api.auth import CognitoLogin, FixedToken, access_info, login
from tests.scripted_server import Script, ScriptedServer, always, in_turn

ROUTE = "POST /"


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as running:
        yield running


class Clock:
    """Seconds that the test moves."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def granted(token: str, refresh: str | None = "r", lasts: int = 3600) -> Script:
    result = {"IdToken": token, "ExpiresIn": lasts} | ({"RefreshToken": refresh} if refresh else {})
    return _cognito(200, {"AuthenticationResult": result})


def refused(code: str, status: int = 400) -> Script:
    return _cognito(status, {"__type": code, "message": "no"})


def _cognito(status: int, answer: dict[str, Any]) -> Script:
    return always(status, json.dumps(answer).encode(), Content_Type="application/x-amz-json-1.1")


def flows(server: ScriptedServer) -> list[str]:
    return [json.loads(seen.body)["AuthFlow"] for seen in server.seen]


def a_login(server: ScriptedServer, clock: Clock | None = None) -> CognitoLogin:
    return CognitoLogin("client", "eu-central-1", "me", SecretStr("pass"), clock or Clock(), server.url)


def test_a_fixed_token_stays() -> None:
    """There is nothing to renew it with."""
    auth = FixedToken(SecretStr("t"))

    assert (auth.token(), auth.renew("t")) == ("t", "t")


def test_the_id_token_is_the_bearer(server: ScriptedServer) -> None:
    """Name and password are sent once; the token is kept. No AWS account is needed."""
    server.scripts[ROUTE] = granted("one")
    auth = a_login(server)

    assert [auth.token(), auth.token()] == ["one", "one"]
    [seen] = server.seen
    assert json.loads(seen.body) == {
        "AuthFlow": "USER_PASSWORD_AUTH",
        "AuthParameters": {"USERNAME": "me", "PASSWORD": "pass"},
        "ClientId": "client",
    }
    assert "authorization" not in seen.headers


def test_a_token_is_renewed_five_minutes_before_its_end(server: ScriptedServer) -> None:
    """Renewal uses the refresh token, which stays the same, and happens on the monotonic clock."""
    server.scripts[ROUTE] = in_turn(granted("one"), granted("two", None), granted("three", None))
    clock = Clock()
    auth = a_login(server, clock)
    seen = []
    for clock.now in (0.0, 3299.0, 3300.0, 6600.0):
        seen.append(auth.token())

    assert seen == ["one", "one", "two", "three"]
    assert flows(server) == ["USER_PASSWORD_AUTH", "REFRESH_TOKEN_AUTH", "REFRESH_TOKEN_AUTH"]


def test_a_refused_refresh_token_falls_back_to_the_password(server: ScriptedServer) -> None:
    """A refresh token that was revoked costs one request more."""
    server.scripts[ROUTE] = in_turn(granted("one"), refused("NotAuthorizedException"), granted("two"))
    auth = a_login(server)

    assert (auth.token(), auth.renew("one")) == ("one", "two")
    assert flows(server) == ["USER_PASSWORD_AUTH", "REFRESH_TOKEN_AUTH", "USER_PASSWORD_AUTH"]


def test_a_token_is_kept_while_the_login_is_away(server: ScriptedServer) -> None:
    """An early renewal that fails is tried again later; an expired token is an error."""
    server.scripts[ROUTE] = in_turn(granted("one"), refused("InternalErrorException", 500))
    clock = Clock()
    auth = a_login(server, clock)
    auth.token()
    clock.now = 3400.0

    assert auth.token() == "one"
    clock.now = 3600.0
    with pytest.raises(errors.ServerError):
        auth.token()


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        pytest.param(refused("NotAuthorizedException"), errors.Unauthorized, id="password"),
        pytest.param(refused("TooManyRequestsException"), errors.TooManyRequests, id="too many"),
        pytest.param(refused("InternalErrorException", 500), errors.ServerError, id="their trouble"),
        pytest.param(
            _cognito(200, {"ChallengeName": "NEW_PASSWORD_REQUIRED"}), errors.Unauthorized, id="challenge"
        ),
    ],
)
def test_a_refusal_has_its_error(server: ScriptedServer, answer: Script, kind: type[Exception]) -> None:
    """Each refusal of Cognito is an error of the wire, and none tells the password."""
    server.scripts[ROUTE] = answer
    with pytest.raises(kind) as caught:
        a_login(server).token()

    assert "pass" not in str(caught.value).replace("password", "")


def test_cognito_away_is_unreachable_and_nothing_was_sent() -> None:
    """Without a token no request went to the API."""
    auth = CognitoLogin("c", "eu-central-1", "me", SecretStr("p"), endpoint_url="http://127.0.0.1:9")
    with pytest.raises(errors.Unreachable) as caught:
        auth.token()

    assert caught.value.sent is False


def test_threads_share_one_renewal(server: ScriptedServer) -> None:
    """Eight threads whose token was refused cost one login."""
    server.scripts[ROUTE] = in_turn(granted("one"), granted("two"))
    auth = a_login(server)
    old = auth.token()
    together = threading.Barrier(8)
    found: list[str] = []

    def renew() -> None:
        together.wait(30)
        found.append(auth.renew(after=old))

    threads = [threading.Thread(target=renew) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert (found, len(server.seen)) == (["two"] * 8, 2)


COGNITO = {"user_pool_id": "pool", "client_id": "client", "region": "eu-central-1"}


def test_where_to_log_in_is_asked_for_when_it_is_needed(server: ScriptedServer) -> None:
    """``login`` sends nothing; the first token asks ``/access_info`` without any login, once."""
    server.scripts |= {
        "GET /api/access_info": always(200, json.dumps({"cognito": COGNITO}).encode()),
        ROUTE: granted("one"),
    }
    auth = login(f"{server.url}/api/", username="me", password=SecretStr("p"), endpoint_url=server.url)
    before = len(server.seen)

    assert (before, auth.token(), auth.token(), auth.renew("other")) == (0, "one", "one", "one")
    assert server.paths() == ["GET /api/access_info", "POST /"]
    assert "authorization" not in server.seen[0].headers


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (always(500), errors.ServerError),
        (always(200, b"<html>"), errors.WrongShape),
        (always(200, b'{"cognito": null}'), errors.WrongShape),
        (always(200, b"[" * 100_000), errors.WrongShape),
    ],
)
def test_an_access_info_that_says_nothing_is_an_error(
    server: ScriptedServer, answer: Script, kind: type[Exception]
) -> None:
    """Only what names client and region is believed."""
    server.scripts["GET /access_info"] = answer
    with pytest.raises(kind):
        access_info(server.url)


def test_a_token_wins_over_a_password(server: ScriptedServer) -> None:
    """ACCESS_TOKEN needs no login at all."""
    auth = login(server.url, token=SecretStr("t"), username="me", password=SecretStr("p"))

    assert (auth.token(), server.seen) == ("t", [])


def test_no_login_at_all_is_said_at_once() -> None:
    """A worker without token and password cannot begin."""
    with pytest.raises(ValueError, match="ACCESS_TOKEN"):
        login("http://api", token=SecretStr(""))
