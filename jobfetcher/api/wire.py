"""One HTTP exchange: a request goes out, and an answer or a typed error comes back.

Sessions of requests are not safe to share, so each thread has its own. The service closes
connections that idle for 5 s; ours are dropped a little earlier, so that none breaks under a request.

requests and urllib3 take longer to load than all of ours: they are loaded at the first exchange.
"""

import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from jobfetcher._version import __version__
from jobfetcher.api.errors import ApiAnswer, Unreachable

if TYPE_CHECKING:
    import requests

USER_AGENT = f"jobfetcher/{__version__}"
IDLE_SECONDS = 4.0
"""How long an unused connection is kept."""
MAX_BODY = 64 * 1024 * 1024
"""Longest answer that is read, in bytes."""
_PIECE = 64 * 1024
_PATIENCE = 4
"""A whole body may take this many read time-outs: a server that drips bytes is not waited for."""

Timeout = tuple[float, float]
"""Seconds for the connection, and for each read."""
SessionMaker = Callable[[], "requests.Session"]
Signer = Callable[["requests.PreparedRequest"], "requests.PreparedRequest"]
"""Gives a request its token."""


@dataclass(frozen=True)
class Answer:
    """What came back, whatever its status."""

    call: str
    status: int
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")


class Bearer:
    """Sets the token. Given as ``auth=`` so that a ``.netrc`` of the machine cannot replace it."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: "requests.PreparedRequest") -> "requests.PreparedRequest":
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


class NoAuth:
    """Sends no Authorization, not even one from a ``.netrc``."""

    def __call__(self, request: "requests.PreparedRequest") -> "requests.PreparedRequest":
        return request


class _Line(threading.local):
    """One thread's session."""

    session: "requests.Session | None" = None
    last_used: float = float("-inf")


class Wire:
    """Sends requests. Safe from any thread."""

    def __init__(
        self,
        timeout: Timeout = (10.0, 30.0),
        session: SessionMaker | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._timeout = timeout
        self._make = session
        self._clock = clock
        self._line = _Line()
        self._sessions: weakref.WeakSet[requests.Session] = weakref.WeakSet()

    def send(self, method: str, url: str, call: str, auth: Signer, *, again: bool = False) -> Answer:
        """One exchange. ``call`` names it in errors. Raises ``Unreachable``.

        ``again``: the request may be sent once more if a reused connection turns out to be broken.
        """
        session, reused = self._session(url)
        try:
            return self._exchange(session, method, url, call, auth)
        except Unreachable as error:
            session.close()
            if not (again and reused and _broken(error.__cause__)):
                raise
            return self._exchange(session, method, url, call, auth)
        finally:
            self._line.last_used = self._clock()

    def close(self) -> None:
        """Close all connections; the next request opens new ones."""
        for session in list(self._sessions):
            session.close()

    def _session(self, url: str) -> "tuple[requests.Session, bool]":
        from requests.utils import get_environ_proxies

        line = self._line
        if line.session is None:
            line.session = (self._make or _plain_session)()
            line.session.headers["User-Agent"] = USER_AGENT
            line.session.verify = certificates() or True
            # Once and not for each request: going through the environment takes as long as the rest of it.
            line.session.proxies = get_environ_proxies(url)
            line.session.trust_env = False
            self._sessions.add(line.session)
        fresh = self._clock() - line.last_used < IDLE_SECONDS
        if not fresh:
            line.session.close()
        return line.session, fresh

    def _exchange(
        self, session: "requests.Session", method: str, url: str, call: str, auth: Signer
    ) -> Answer:
        import requests
        import urllib3

        deadline = self._clock() + sum(self._timeout) * _PATIENCE
        try:
            with session.request(method, url, auth=auth, timeout=self._timeout, stream=True) as response:
                self._same_method(response, method, call)
                body = self._read(response, call, deadline)
        except requests.TooManyRedirects as error:
            raise ApiAnswer(call, 310, "It redirects for ever; check API_URL.") from error
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            raise Unreachable(call, reason(error), sent=_may_have_arrived(error)) from error
        headers = {name.lower(): value for name, value in response.headers.items()}
        return Answer(call, response.status_code, headers, body)

    def _same_method(self, response: "requests.Response", method: str, call: str) -> None:
        if response.request.method != method:  # a redirected PUT that went on as GET has stored nothing
            status = response.history[0].status_code
            raise ApiAnswer(call, status, "It redirects to another address; set API_URL to that one.")

    def _read(self, response: "requests.Response", call: str, deadline: float) -> bytes:
        body = bytearray()
        while piece := response.raw.read1(_PIECE, decode_content=True):
            body += piece
            if len(body) > MAX_BODY:
                raise ApiAnswer(call, response.status_code, "The answer is too long to be one of the API.")
            if self._clock() > deadline:
                raise Unreachable(call, "the answer comes too slowly", sent=True)
        return bytes(body)


def _plain_session() -> "requests.Session":
    import requests

    return requests.Session()


def certificates() -> str | None:
    """The bundle of certificates that the machine's environment names, if any."""
    names = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")
    return next((os.environ[name] for name in names if os.environ.get(name)), None)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what lies beneath it; requests and urllib3 nest theirs in four ways."""
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


@cache
def _never_sent() -> tuple[type[BaseException], ...]:
    import ssl

    import requests
    import urllib3

    return (
        ssl.SSLCertVerificationError,
        requests.exceptions.ProxyError,
        requests.exceptions.ConnectTimeout,
        urllib3.exceptions.NewConnectionError,
        urllib3.exceptions.ConnectTimeoutError,
    )


def _may_have_arrived(error: BaseException) -> bool:
    return not any(isinstance(cause, _never_sent()) for cause in _chain(error))


def _broken(error: BaseException | None) -> bool:
    return any(isinstance(cause, ConnectionResetError | BrokenPipeError) for cause in _chain(error))


@cache
def _words() -> tuple[tuple[tuple[type[Exception], ...], str], ...]:
    import ssl

    import requests
    import urllib3

    return (
        ((urllib3.exceptions.NameResolutionError,), "there is no such host"),
        ((ConnectionRefusedError,), "connection refused"),
        ((ssl.SSLError,), "the secure connection (TLS) failed; check the date and the certificates"),
        ((requests.Timeout, urllib3.exceptions.TimeoutError, TimeoutError), "it timed out"),
    )


def reason(error: BaseException) -> str:
    """Why there was no answer, in a few words without any address."""
    causes = list(_chain(error))
    for kinds, words in _words():
        if any(isinstance(cause, kinds) for cause in causes):
            return words
    strerror = next((c.strerror for c in causes if isinstance(c, OSError) and c.strerror), None)
    return strerror.lower() if strerror else f"the connection broke off ({type(causes[-1]).__name__})"
