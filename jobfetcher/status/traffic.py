"""Counts what is asked of the API and how it ends, by listening to its client."""

import re
import threading
import time
from collections import Counter
from collections.abc import Callable

CALLS: tuple[tuple[str, str, re.Pattern[str]], ...] = (
    ("fetch_jobs", "GET", re.compile(r"/jobs$")),
    ("put_status", "PUT", re.compile(r"/jobs/[^/]+/status$")),
    ("job_status", "GET", re.compile(r"/jobs/[^/]+/status$")),
    ("download_request", "GET", re.compile(r"/files/.*/url$")),
    ("upload_request", "POST", re.compile(r"/jobs/[^/]+/files/url$")),
)
OUTCOMES = {401: "not_let_in", 403: "not_let_in", 404: "not_found", 429: "throttled"}


class Traffic:
    """How often each call ended how, since the start of the process. Safe from any thread."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._ended: Counter[tuple[str, str]] = Counter()
        self.good_at: float | None = None
        """When the API last did what it was asked, in seconds since the epoch."""

    def note(self, call: str, outcome: str) -> None:
        """A request has ended."""
        with self._lock:
            self._ended[call, outcome] += 1
            if outcome == "ok":
                self.good_at = self._clock()

    def ended(self) -> dict[tuple[str, str], int]:
        """By call and outcome."""
        with self._lock:
            return dict(self._ended)

    def heard(self, method: str, url: str, status: int | None) -> None:
        """A request has ended with that status, or without an answer; for ``ApiClient``'s ``on_answer``."""
        self.note(called(method, url), "unreachable" if status is None else outcome(status))


def called(method: str, url: str) -> str:
    """The name of a call of the API; ``other`` for what is none."""
    path = url.partition("?")[0]
    found = (name for name, verb, pattern in CALLS if verb == method and pattern.search(path))
    return next(found, "other")


def outcome(status: int) -> str:
    """``ok``, ``not_let_in``, ``not_found``, ``throttled``, any other 4xx: ``refused``, 5xx: ``failed``."""
    if status < 400:
        return "ok"
    return OUTCOMES.get(status, "refused" if status < 500 else "failed")
