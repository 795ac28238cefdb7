"""Who may call the mock, and how a worker logs in, over a socket."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from mock_api.client import TOKEN, MockControl, MockServer


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MockControl]:
    with MockServer(tmp_path_factory.mktemp("mock")) as server:
        yield server.control


def call(method: str, url: str, **options: Any) -> requests.Response:
    with requests.Session() as session:
        session.trust_env = False
        return session.request(method, url, timeout=30, **options)


@pytest.mark.parametrize(
    ("header", "code"),
    [
        pytest.param(None, 403, id="no header"),
        pytest.param("Basic bW9jaw==", 403, id="another scheme"),
        pytest.param("Bearer nonsense", 401, id="unknown token"),
        pytest.param("Bearer visitor-token", 403, id="not in the group workers"),
        pytest.param("Bearer nobody-token", 401, id="in no group"),
        pytest.param(f"Bearer {TOKEN}", 200, id="worker"),
    ],
)
def test_opens_to_workers_only(control: MockControl, header: str | None, code: int) -> None:
    """Only accounts of the group ``workers`` may call, and no answer says how to authenticate."""
    control.add_account("visitor", token="visitor-token", groups=("users",))
    control.add_account("nobody", token="nobody-token", groups=())
    headers = {} if header is None else {"Authorization": header}
    answer = call("GET", f"{control.url}/jobs?memory=1", headers=headers)

    assert code == answer.status_code
    assert "WWW-Authenticate" not in answer.headers


def log_in(control: MockControl, flow: str, **parameters: str) -> requests.Response:
    body = {"AuthFlow": flow, "ClientId": "mock-client", "AuthParameters": parameters}
    target = "AWSCognitoIdentityProviderService.InitiateAuth"
    return call("POST", f"{control.url}/cognito", data=json.dumps(body), headers={"X-Amz-Target": target})


def bearer_code(control: MockControl, token: str) -> int:
    headers = {"Authorization": f"Bearer {token}"}
    return call("GET", f"{control.url}/jobs?memory=1", headers=headers).status_code


def test_says_where_to_log_in(control: MockControl) -> None:
    """``/access_info`` and ``/`` are open to all."""
    info = call("GET", f"{control.url}/access_info").json()
    root = call("GET", f"{control.url}/").json()

    assert {"user_pool_id", "client_id", "region"} == set(info["cognito"])
    assert list(root) == ["message"]


def test_logs_in_with_a_password(control: MockControl) -> None:
    """USER_PASSWORD_AUTH gives an ID token that opens the API, its life, and a refresh token."""
    answer = log_in(control, "USER_PASSWORD_AUTH", USERNAME="worker", PASSWORD="mock-password")
    result = answer.json()["AuthenticationResult"]
    payload = result["IdToken"].split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))

    assert 3600 == result["ExpiresIn"] == claims["exp"] - claims["iat"]
    assert "RefreshToken" in result
    assert bearer_code(control, result["IdToken"]) == 200


def test_renews_a_token(control: MockControl) -> None:
    """REFRESH_TOKEN_AUTH gives a new ID token and no new refresh token."""
    first = log_in(control, "USER_PASSWORD_AUTH", USERNAME="worker", PASSWORD="mock-password")
    refresh = first.json()["AuthenticationResult"]["RefreshToken"]
    control.expire_tokens()
    result = log_in(control, "REFRESH_TOKEN_AUTH", REFRESH_TOKEN=refresh).json()["AuthenticationResult"]

    assert bearer_code(control, first.json()["AuthenticationResult"]["IdToken"]) == 401
    assert bearer_code(control, result["IdToken"]) == 200
    assert "RefreshToken" not in result


def test_refuses_wrong_credentials(control: MockControl) -> None:
    """A wrong password and an ended refresh token are 400 NotAuthorizedException."""
    first = log_in(control, "USER_PASSWORD_AUTH", USERNAME="worker", PASSWORD="mock-password")
    refresh = first.json()["AuthenticationResult"]["RefreshToken"]
    control.expire_tokens(refresh_too=True)
    answers = [
        log_in(control, "USER_PASSWORD_AUTH", USERNAME="worker", PASSWORD="wrong"),
        log_in(control, "REFRESH_TOKEN_AUTH", REFRESH_TOKEN=refresh),
    ]

    assert [(a.status_code, a.json()["__type"]) for a in answers] == [(400, "NotAuthorizedException")] * 2


def test_refuses_a_token_from_the_future(tmp_path: Path) -> None:
    """A token whose ``iat`` lies ahead of the service's clock is a 401 until then; past its ``exp`` too."""
    with MockServer(tmp_path, "--token-ahead", "60", "--token-seconds", "100") as server:
        answer = log_in(server.control, "USER_PASSWORD_AUTH", USERNAME="worker", PASSWORD="mock-password")
        token = answer.json()["AuthenticationResult"]["IdToken"]
        codes = [bearer_code(server.control, token)]
        for seconds in (61, 101):
            server.control.advance(seconds)
            codes.append(bearer_code(server.control, token))

    assert codes == [401, 200, 401]
