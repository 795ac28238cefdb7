"""Scripted faults: what to spoil, which requests, how often; and how often it happened."""

import re
import threading
from enum import StrEnum
from itertools import count

from pydantic import BaseModel, ConfigDict

from mock_api.records import FaultReport


class FaultKind(StrEnum):
    """How a request is spoilt."""

    STATUS = "status"
    """Answer with ``code``, ``headers`` and ``body``; nothing is done."""
    STATUS_AFTER_WORK = "status_after_work"
    """Do what was asked, then answer with ``code``."""
    LOSE_RESPONSE = "lose_response"
    """Do what was asked, then close the connection without an answer."""
    RESET = "reset"
    """Reset the connection; nothing is done."""
    HANG = "hang"
    """Wait ``seconds``, or until the fault is cleared; then go on if the caller still waits."""
    CUT_BODY_AFTER = "cut_body_after"
    """Announce the whole body, send ``bytes`` of it, close."""
    SLOW = "slow"
    """Send the body at ``bytes_per_second``."""
    REFUSE = "refuse"
    """Reset the connection and listen no more for ``seconds``; None: until told. Without a match: at once."""
    IGNORE_RANGE = "ignore_range"
    """Answer as if no Range had been asked for."""


class Match(BaseModel):
    """Which requests; what is not given matches all."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: str | None = None
    path_regex: str | None = None
    """Searched in the decoded path."""
    query_regex: str | None = None
    """Searched in the query string as it was sent."""

    def __call__(self, method: str, path: str, query: str) -> bool:
        return (
            self.method in (None, method)
            and re.search(self.path_regex or "", path) is not None
            and re.search(self.query_regex or "", query) is not None
        )


class Fault(BaseModel):
    """One scripted fault."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: FaultKind
    match: Match = Match()
    times: int | None = 1
    """How often it fires; None: until cleared."""
    skip: int = 0
    """Matching requests to leave alone first."""
    code: int = 500
    headers: dict[str, str] = {}
    body: str = '{"detail":"scripted fault"}'
    content_type: str = "application/json"
    seconds: float | None = None
    bytes: int = 0
    bytes_per_second: int = 1 << 16


class Scripted:
    """A fault and its count."""

    def __init__(self, number: int, fault: Fault) -> None:
        self.id = number
        self.fault = fault
        self.fired = 0
        self.skipped = 0

    @property
    def left(self) -> int | None:
        return None if self.fault.times is None else self.fault.times - self.fired

    def fires(self, method: str, path: str, query: str) -> bool:
        """Whether it is this request's turn; counts it if so."""
        if self.left == 0 or not self.fault.match(method, path, query):
            return False
        if self.skipped < self.fault.skip:
            self.skipped += 1
            return False
        self.fired += 1
        return True


class FaultBook:
    """All scripted faults, in order: a request meets the first whose turn it is."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._numbers = count(1)
        self._scripted: dict[int, Scripted] = {}

    def add(self, fault: Fault, fired: bool = False) -> int:
        """Script a fault and return its id; ``fired``: it has just happened, once and for all."""
        with self._lock:
            scripted = Scripted(
                next(self._numbers), fault.model_copy(update={"times": 1}) if fired else fault
            )
            scripted.fired = int(fired)
            self._scripted[scripted.id] = scripted
            return scripted.id

    def take(self, method: str, path: str, query: str) -> Scripted | None:
        """The fault to play on this request."""
        with self._lock:
            return next((s for s in self._scripted.values() if s.fires(method, path, query)), None)

    def clear(self, number: int | None = None) -> None:
        """Forget one fault, or all. A hanging request goes on."""
        with self._lock:
            if number is None:
                self._scripted.clear()
            else:
                self._scripted.pop(number, None)

    def holds(self, scripted: Scripted) -> bool:
        """Whether it has not been cleared."""
        return scripted.id in self._scripted

    def reports(self) -> list[FaultReport]:
        with self._lock:
            return [
                FaultReport(s.id, s.fault.kind, s.fired, s.left, s.fault.match.model_dump(exclude_none=True))
                for s in self._scripted.values()
            ]
