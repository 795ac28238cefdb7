"""What is under way this moment, for people: how far transfers and pulls are, and how fast.

Nothing here is needed to go on after a crash, so none of it is in the database. ``Board`` is kept by the
worker; ``jobfetcher.board_file`` puts it where other processes can read it.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Literal

Phase = Literal["download", "pull", "upload"]

RATE_SECONDS = 10.0
"""A rate is that of the last so many seconds."""


@dataclass(frozen=True)
class Reading:
    """A meter at one moment. Sizes are bytes; ``None``: not known."""

    phase: Phase
    done: int
    total: int | None
    files: int
    """Files that are whole."""
    files_total: int | None
    rate: float
    """Bytes per second."""
    seconds_left: float | None


class Meter:
    """How far one long thing of one job is. Safe from any thread; ``add`` is called for every piece."""

    def __init__(self, phase: Phase, files: int | None = None, clock: Callable[[], float] = time.monotonic):
        self._phase: Phase = phase
        self._files_total = files
        self._clock = clock
        self._lock = threading.Lock()
        self._done = 0
        self._files = 0
        self._total: int | None = None
        self._samples: deque[tuple[float, int]] = deque([(clock(), 0)])

    def expect(self, count: int) -> None:
        """``count`` more bytes are known to come."""
        with self._lock:
            self._total = (self._total or 0) + count

    def add(self, count: int) -> None:
        """``count`` bytes have moved; less than 0: they must move again."""
        with self._lock:
            self._done += count

    def file_done(self, count: int = 1) -> None:
        """So many more files are whole."""
        with self._lock:
            self._files += count

    def read(self) -> Reading:
        """The meter now."""
        with self._lock:
            now, done = self._clock(), self._done
            while len(self._samples) > 1 and now - self._samples[1][0] >= RATE_SECONDS:
                self._samples.popleft()
            since, before = self._samples[0]
            if now - self._samples[-1][0] >= 0.5:
                self._samples.append((now, done))
            rate = max(0.0, (done - before) / (now - since)) if now > since else 0.0
            left = None if self._total is None or not rate else max(0.0, (self._total - done) / rate)
            return Reading(self._phase, done, self._total, self._files, self._files_total, rate, left)


class Board:
    """The meters of all jobs at work, by the job's key."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._meters: dict[int, list[Meter]] = {}

    @contextmanager
    def meter(self, job_key: int, phase: Phase, files: int | None = None) -> Iterator[Meter]:
        """Within the block the meter is shown."""
        meter = Meter(phase, files)
        with self._lock:
            self._meters.setdefault(job_key, []).append(meter)
        try:
            yield meter
        finally:
            with self._lock:
                self._meters[job_key].remove(meter)
                if not self._meters[job_key]:
                    del self._meters[job_key]

    def readings(self) -> dict[int, list[dict[str, Any]]]:
        """Each job's meters now, as plain values."""
        with self._lock:
            meters = {key: list(of_job) for key, of_job in self._meters.items()}
        return {key: [asdict(meter.read()) for meter in of_job] for key, of_job in meters.items()}
