"""Who may call: accounts, static tokens, and the tokens that the Cognito look-alike issues."""

import base64
import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass

WORKERS = "workers"
CLOUD = "cloud"

Clock = Callable[[], float]


class LoginRefused(Exception):
    """Wrong name, password or refresh token. The message is the service's own."""


class Unauthorized(Exception):
    """The bearer token does not open the API: answer with ``code``."""

    def __init__(self, code: int, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


@dataclass(frozen=True)
class Account:
    """A worker to the service, whatever the number of its machines."""

    name: str
    password: str | None = None
    groups: tuple[str, ...] = (WORKERS,)

    @property
    def environment(self) -> str:
        return "cloud" if CLOUD in self.groups else "local"


@dataclass(frozen=True)
class _Issued:
    account: str
    not_before: float
    expires: float


class Accounts:
    """Not thread-safe by itself: the world calls it under its lock."""

    def __init__(self, clock: Clock, token_seconds: float = 3600, ahead_seconds: float = 0) -> None:
        self._clock = clock
        self.token_seconds = token_seconds
        self.ahead_seconds = ahead_seconds
        """How far the ``iat`` of new tokens lies in the future."""
        self._accounts: dict[str, Account] = {}
        self._issued: dict[str, _Issued] = {}
        self._static: dict[str, str] = {}
        self._refresh: dict[str, str] = {}

    def add(self, account: Account, token: str | None = None) -> None:
        """Add or replace an account; ``token`` opens the API for it and never expires."""
        self._accounts[account.name] = account
        if token is not None:
            self._static[token] = account.name

    def caller(self, token: str) -> Account:
        """The account behind a bearer token, if it may use the API; else ``Unauthorized``."""
        account = self._accounts.get(self._name(token))
        if account is None or not account.groups:
            raise Unauthorized(401, "Not verified")
        if WORKERS not in account.groups:
            raise Unauthorized(403, "Not authorized")
        return account

    def _name(self, token: str) -> str:
        if token in self._static:
            return self._static[token]
        issued = self._issued.get(token)
        if issued is None or not issued.not_before <= self._clock() < issued.expires:
            raise Unauthorized(401, "Not verified")
        return issued.account

    def log_in(self, name: str, password: str) -> tuple[str, str]:
        """USER_PASSWORD_AUTH: a new ID token and a refresh token."""
        account = self._accounts.get(name)
        if account is None or account.password is None or account.password != password:
            raise LoginRefused("Incorrect username or password.")
        refresh = secrets.token_urlsafe(24)
        self._refresh[refresh] = name
        return self._issue(account), refresh

    def renew(self, refresh: str) -> str:
        """REFRESH_TOKEN_AUTH: a new ID token."""
        if refresh not in self._refresh:
            raise LoginRefused("Invalid Refresh Token")
        return self._issue(self._accounts[self._refresh[refresh]])

    def expire(self, refresh_too: bool = False) -> None:
        """End all issued ID tokens now. Static tokens stay."""
        self._issued.clear()
        if refresh_too:
            self._refresh.clear()

    def _issue(self, account: Account) -> str:
        issued_at = int(self._clock() + self.ahead_seconds)
        expires = issued_at + self.token_seconds
        claims = {
            "cognito:username": account.name,
            "cognito:groups": list(account.groups),
            "token_use": "id",
            "iat": issued_at,
            "exp": int(expires),
        }
        token = ".".join((_encoded({"alg": "none"}), _encoded(claims), secrets.token_urlsafe(16)))
        self._issued[token] = _Issued(account.name, issued_at, expires)
        return token


def _encoded(part: dict[str, object]) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")
