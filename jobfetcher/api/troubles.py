"""What the errors of urllib3 and the system say about a request that got no answer."""

import ssl
from collections.abc import Iterator
from typing import Any

import urllib3

_NEVER_SENT = (
    ssl.SSLCertVerificationError,
    urllib3.exceptions.ProxyError,
    urllib3.exceptions.NewConnectionError,
    urllib3.exceptions.ConnectTimeoutError,
)
_WORDS: tuple[tuple[tuple[type[Exception], ...], str], ...] = (
    ((urllib3.exceptions.NameResolutionError,), "there is no such host"),
    ((ConnectionRefusedError,), "connection refused"),
    ((ssl.SSLError,), "the secure connection (TLS) failed; check the date and the certificates"),
    ((urllib3.exceptions.TimeoutError, TimeoutError), "it timed out"),
)


def may_have_arrived(error: BaseException) -> bool:
    """The request may have reached the server."""
    return not any(isinstance(cause, _NEVER_SENT) for cause in _chain(error))


def broken(error: BaseException | None) -> bool:
    """The other side closed the connection."""
    return any(isinstance(cause, ConnectionResetError | BrokenPipeError) for cause in _chain(error))


def reason(error: BaseException) -> str:
    """Why there was no answer, in a few words without any address."""
    causes = list(_chain(error))
    for kinds, words in _WORDS:
        if any(isinstance(cause, kinds) for cause in causes):
            return words
    strerror = next((c.strerror for c in causes if isinstance(c, OSError) and c.strerror), None)
    return strerror.lower() if strerror else f"the connection broke off ({type(causes[-1]).__name__})"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what lies beneath it; urllib3 nests its own in several ways."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        first: Any = error.args[0] if error.args else None
        below = getattr(error, "reason", None) or first
        below = below if isinstance(below, BaseException) else _second(error)
        error = below or error.__cause__ or error.__context__


def _second(error: BaseException) -> BaseException | None:
    return next((arg for arg in error.args if isinstance(arg, BaseException)), None)
