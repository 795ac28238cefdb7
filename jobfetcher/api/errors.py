"""How a call to the API ends when it does not end well.

These errors are the wire's alone: no class of requests, urllib3 or the engine's client is among
their bases. Their messages hold neither query strings nor tokens, so that they may be logged.
"""

import re

_QUERY = re.compile(r"(https?://[^\s\"'<>?]+)\?[^\s\"'<>]*")
_TOKEN = re.compile(r"\beyJ[\w-]+(?:\.[\w-]+)*|(?i:\bbearer\s+)[^\s\"']+")
EXCERPT_CHARS = 200


class ApiError(Exception):
    """Base of all: the call did not give what it was made for."""


class ApiAnswer(ApiError):
    """The API answered, but not what was asked for. ``status`` is its HTTP status."""

    def __init__(self, call: str, status: int, body: str = "") -> None:
        self.call = call
        self.status = status
        self.excerpt = excerpt(body)
        told = f": {self.excerpt}" if self.excerpt else "."
        super().__init__(f"The API answered {status} to {call}{told}")


class Unauthorized(ApiAnswer):
    """401: the login is not accepted, also after it was renewed."""


class Forbidden(ApiAnswer):
    """403: the account may not do this; it is perhaps not in the group of workers."""


class NotFound(ApiAnswer):
    """404."""


class Invalid(ApiAnswer):
    """422: the API does not accept what was asked."""


class ServerError(ApiAnswer):
    """5xx: it may work later. ``retry_after`` in seconds, if the API named a time."""

    def __init__(self, call: str, status: int, body: str = "", retry_after: float | None = None) -> None:
        super().__init__(call, status, body)
        self.retry_after = retry_after


class TooManyRequests(ApiAnswer):
    """429: wait ``retry_after`` seconds, if the API named a time."""

    def __init__(self, call: str, status: int, body: str = "", retry_after: float | None = None) -> None:
        super().__init__(call, status, body)
        self.retry_after = retry_after


class NotJson(ApiAnswer):
    """A good status, but no JSON: a proxy or a sign-in page of the network answered instead."""


class WrongShape(ApiAnswer):
    """JSON, but not of the shape that the API promises."""


class Unreachable(ApiError):
    """No answer: refused, no such host, no TLS, timed out, or broken off.

    ``sent`` is False only where the request surely never reached the server.
    """

    def __init__(self, call: str, reason: str, *, sent: bool) -> None:
        self.call = call
        self.sent = sent
        super().__init__(f"The API cannot be reached ({call}): {reason}.")


_BY_STATUS: dict[int, type[ApiAnswer]] = {401: Unauthorized, 403: Forbidden, 404: NotFound, 422: Invalid}


def for_status(call: str, status: int, body: str, retry_after: float | None = None) -> ApiAnswer:
    """The error that stands for a status other than the expected one."""
    if status == 429:
        return TooManyRequests(call, status, body, retry_after)
    if status >= 500:
        return ServerError(call, status, body, retry_after)
    return _BY_STATUS.get(status, ApiAnswer)(call, status, body)


def excerpt(body: str) -> str:
    """The beginning of a body on one line, without query strings and tokens."""
    clean = _TOKEN.sub("…", _QUERY.sub(r"\1?…", body[:4000]))
    line = " ".join("".join(c if c.isprintable() else " " for c in clean).split())
    return line if len(line) <= EXCERPT_CHARS else line[: EXCERPT_CHARS - 1] + "…"
