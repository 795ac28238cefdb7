"""Where the bearer token comes from: given, or by logging in to AWS Cognito.

``token()`` is asked before each request; ``renew(after=token)`` once a token was refused. boto3 is
imported at the first login only.
"""

import json
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from pydantic import SecretStr

from jobfetcher.api.errors import (
    ServerError,
    TooManyRequests,
    Unauthorized,
    Unreachable,
    WrongShape,
    for_status,
)
from jobfetcher.api.wire import Answer, Timeout, Wire

RENEW_BEFORE = 300.0
"""Seconds before its end at which a token is renewed."""
_LOGIN = "the login"


class Auth(Protocol):
    """Gives tokens. Safe from any thread."""

    def token(self) -> str:
        """The token to send now. Raises the errors of ``jobfetcher.api.errors``."""

    def renew(self, after: str) -> str:
        """The token to send after ``after`` was refused; the same one where there is no other."""


class FixedToken:
    """A token that somebody else takes care of."""

    def __init__(self, token: SecretStr) -> None:
        self._token = token

    def token(self) -> str:
        return self._token.get_secret_value()

    def renew(self, after: str) -> str:
        return self.token()


class CognitoLogin:
    """Logs in with name and password, and stays logged in. One renewal at a time."""

    def __init__(
        self,
        client_id: str,
        region: str,
        username: str,
        password: SecretStr,
        clock: Callable[[], float] = time.monotonic,
        endpoint_url: str | None = None,
    ) -> None:
        self._client_id = client_id
        self._region = region
        self._username = username
        self._password = password
        self._clock = clock
        self._endpoint_url = endpoint_url
        self._lock = threading.Lock()
        self._client: Any = None
        self._token = ""
        self._refresh_token = ""
        self._renew_at = 0.0
        self._ends_at = 0.0

    def token(self) -> str:
        """A token with some minutes left. Raises ``Unauthorized``, ``Unreachable`` or ``ServerError``."""
        with self._lock:
            if not self._token or self._clock() >= self._renew_at:
                self._renew_early()
            return self._token

    def renew(self, after: str) -> str:
        """A token newer than ``after``: another thread's, if that one was faster."""
        with self._lock:
            if self._token == after:
                self._log_in()
            return self._token

    def _renew_early(self) -> None:
        try:
            self._log_in()
        except (Unreachable, ServerError, TooManyRequests):
            if not self._token or self._clock() >= self._ends_at:
                raise

    def _log_in(self) -> None:
        if self._refresh_token:
            try:
                return self._accept(self._ask("REFRESH_TOKEN_AUTH", {"REFRESH_TOKEN": self._refresh_token}))
            except Unauthorized:
                self._refresh_token = ""
        password = {"USERNAME": self._username, "PASSWORD": self._password.get_secret_value()}
        return self._accept(self._ask("USER_PASSWORD_AUTH", password))

    def _accept(self, answer: Mapping[str, Any]) -> None:
        result = answer.get("AuthenticationResult") or {}
        if "IdToken" not in result:
            wanted = answer.get("ChallengeName", "more than name and password")
            raise Unauthorized(_LOGIN, 401, f"The account asks for {wanted}; settle that by hand first.")
        self._token = result["IdToken"]
        self._refresh_token = result.get("RefreshToken") or self._refresh_token
        lasts = float(result.get("ExpiresIn", 3600))
        self._ends_at = self._clock() + lasts
        self._renew_at = self._ends_at - min(RENEW_BEFORE, lasts / 2)

    def _ask(self, flow: str, parameters: dict[str, str]) -> Mapping[str, Any]:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            answer: Mapping[str, Any] = self._cognito().initiate_auth(
                AuthFlow=flow, AuthParameters=parameters, ClientId=self._client_id
            )
        except ClientError as error:
            raise _refusal(error.response) from error
        except BotoCoreError as error:
            raise Unreachable(_LOGIN, type(error).__name__, sent=False) from error
        return answer

    def _cognito(self) -> Any:
        if self._client is None:
            import boto3
            from botocore import UNSIGNED
            from botocore.config import Config

            # Unsigned: the call needs no AWS account, and must not search the machine for one.
            config = Config(
                signature_version=UNSIGNED,
                connect_timeout=10,
                read_timeout=20,
                retries={"total_max_attempts": 2},
            )
            self._client = boto3.session.Session().client(
                "cognito-idp", region_name=self._region, endpoint_url=self._endpoint_url, config=config
            )
        return self._client


def _refusal(response: Mapping[str, Any]) -> Exception:
    code = response.get("Error", {}).get("Code", "")
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 400)
    if code in ("TooManyRequestsException", "LimitExceededException"):
        return TooManyRequests(_LOGIN, 429, code)
    if status >= 500:
        return ServerError(_LOGIN, status, code)
    return Unauthorized(_LOGIN, 401, f"Cognito refuses the name or the password ({code}).")


class _WhenNeeded:
    """Finds out how to log in at the first use, so that a worker may start while the API is away."""

    def __init__(self, find: Callable[[], Auth]) -> None:
        self._find = find
        self._lock = threading.Lock()
        self._found: Auth | None = None

    def token(self) -> str:
        return self._auth().token()

    def renew(self, after: str) -> str:
        return self._auth().renew(after)

    def _auth(self) -> Auth:
        with self._lock:
            if self._found is None:
                self._found = self._find()
            return self._found


def login(
    api_url: str,
    *,
    token: SecretStr | None = None,
    username: str = "",
    password: SecretStr | None = None,
    endpoint_url: str | None = None,
    timeout: Timeout = (10.0, 30.0),
    clock: Callable[[], float] = time.monotonic,
) -> Auth:
    """The token if there is one, else a login where ``/access_info`` of the API says.

    Nothing is sent yet. Raises ``ValueError`` if there is neither a token nor name and password.
    """
    if token is not None and token.get_secret_value():
        return FixedToken(token)
    if not username or password is None:
        raise ValueError("There is no login: set ACCESS_TOKEN, or USERNAME and PASSWORD.")
    secret = password

    def find() -> Auth:
        cognito = access_info(api_url, timeout)
        return CognitoLogin(cognito["client_id"], cognito["region"], username, secret, clock, endpoint_url)

    return _WhenNeeded(find)


def access_info(api_url: str, timeout: Timeout = (10.0, 30.0)) -> dict[str, str]:
    """What ``/access_info`` says about Cognito: ``client_id``, ``region`` and ``user_pool_id``."""
    wire = Wire(timeout)
    try:
        answer = wire.send("GET", f"{api_url.rstrip('/')}/access_info", "GET /access_info")
    finally:
        wire.close()
    return understood(answer)


def understood(answer: Answer) -> dict[str, str]:
    """What an answer to ``GET /access_info`` says. Raises the errors of ``jobfetcher.api.errors``."""
    if answer.status != 200:
        raise for_status(answer.call, answer.status, answer.text)
    try:
        cognito = json.loads(answer.body)["cognito"]
        return {name: str(cognito[name]) for name in ("client_id", "region")} | {
            "user_pool_id": str(cognito.get("user_pool_id") or "")
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise WrongShape(answer.call, answer.status, answer.text) from error
