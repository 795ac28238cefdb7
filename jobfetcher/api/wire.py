"""Sends requests to the API: an answer or a typed error comes back.

What does it (``jobfetcher.api.exchange``) needs urllib3 and requests, which take longer to load than all of
ours: it is loaded at the first request.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jobfetcher.api.exchange import Exchanger

Timeout = tuple[float, float]
"""Seconds for the connection, and for each read."""
OnAnswer = Callable[[str, str, int | None], object]
"""Hears of each request: its method, its URL, and the status that was answered; None: there was no answer."""


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


class Wire:
    """Sends requests. Safe from any thread."""

    def __init__(
        self,
        timeout: Timeout = (10.0, 30.0),
        on_answer: OnAnswer = lambda _method, _url, _status: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._timeout = timeout
        self._on_answer = on_answer
        self._clock = clock
        self._lock = threading.Lock()
        self._exchanger: Exchanger | None = None

    def send(self, method: str, url: str, call: str, token: str = "", *, again: bool = False) -> Answer:
        """One exchange. ``call`` names it in errors. Redirects are followed; the token goes to no other host.

        ``again``: the request may be sent once more if a reused connection turns out to be broken.
        Raises ``Unreachable``, and ``ApiAnswer`` for a redirect or a body that cannot be the API's.
        """
        exchanger = self._exchanger or self._load()
        return exchanger.send(method, url, call, token, again)

    def close(self) -> None:
        """Close all connections; the next request opens new ones."""
        if self._exchanger is not None:
            self._exchanger.close()

    def _load(self) -> "Exchanger":
        from jobfetcher.api.exchange import Exchanger

        with self._lock:
            if self._exchanger is None:
                self._exchanger = Exchanger(self._timeout, self._on_answer, self._clock)
            return self._exchanger
