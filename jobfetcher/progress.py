"""What is under way this moment, for people: how far transfers and pulls are, and how fast.

Nothing here is needed to go on after a crash, so none of it is in the database. ``Board`` is kept by the
worker; ``jobfetcher.live`` puts it where other processes can read it. Whatever moves bytes asks
``metered`` for its meter and need not know whether anybody looks: in a cloud function nobody does.
"""

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import Context, ContextVar, copy_context
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

log = logging.getLogger(__name__)

Phase = Literal["download", "pull", "upload"]

RATE_SECONDS = 10.0
"""A rate is that of the last so many seconds."""
LONG_SECONDS = 10.0
"""What lasts longer is told to the log."""
LINE_SECONDS = 30.0
"""Seconds between two lines of the log about one meter."""


@dataclass(frozen=True)
class Reading:
    """A meter at one moment. Sizes are bytes; ``None``: not known."""

    phase: Phase
    done: int
    total: int | None
    files: int
    """Files (of a pull: layers) that are whole."""
    files_total: int | None
    rate: float
    """Bytes per second."""
    seconds_left: float | None


class Meter:
    """How far one long thing of one job is. Safe from any thread; ``add`` is called for every piece."""

    def __init__(self, phase: Phase, clock: Callable[[], float] = time.monotonic) -> None:
        self.phase: Phase = phase
        self._clock = clock
        self._lock = threading.Lock()
        self._files_total: int | None = None
        self._files = 0
        self._sized = 0
        self._total = 0
        self._before = 0
        self._moved = 0
        self._began = clock()
        self._samples: deque[tuple[float, int]] = deque([(self._began, 0)])

    def plan(self, files: int) -> None:
        """So many more files are to come. The total is not known before the size of each is."""
        with self._lock:
            self._files_total = (self._files_total or 0) + files

    def expect(self, count: int, files: int = 1) -> None:
        """``files`` of the planned ones have ``count`` bytes together."""
        with self._lock:
            self._total += count
            self._sized += files

    def already(self, count: int) -> None:
        """``count`` bytes are here from an earlier try: they are done, but they did not move."""
        with self._lock:
            self._before += count

    def add(self, count: int) -> None:
        """``count`` bytes have moved; less than 0: they must move again."""
        with self._lock:
            self._moved += count

    def file_done(self, count: int = 1) -> None:
        """So many more files are whole."""
        with self._lock:
            self._files += count

    def share(self) -> "Share":
        """The part of one planned file in this meter."""
        return Share(self)

    def read(self) -> Reading:
        """The meter now."""
        with self._lock:
            rate, done = self._rate(), max(0, self._before + self._moved)
            known = self._files_total is not None and self._sized >= self._files_total
            total = max(self._total, done) if known else None
            left = (total - done) / rate if total is not None and rate else None
            return Reading(self.phase, done, total, self._files, self._files_total, rate, left)

    def whole(self) -> tuple[int, float, float]:
        """Bytes moved, seconds, and bytes per second, from the beginning until now."""
        with self._lock:
            seconds = self._clock() - self._began
            return self._moved, seconds, self._moved / seconds if seconds > 0 else 0.0

    def _rate(self) -> float:
        now, moved = self._clock(), self._moved
        while len(self._samples) > 1 and now - self._samples[1][0] >= RATE_SECONDS:
            self._samples.popleft()
        since, before = self._samples[0]
        if now - self._samples[-1][0] >= 0.5:
            self._samples.append((now, moved))
        return max(0.0, (moved - before) / (now - since)) if now > since else 0.0


class Share:
    """One file in a meter, told in absolute numbers, as often as one likes. For one thread at a time."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._size: int | None = None
        self._here = 0

    def found(self, count: int) -> None:
        """``count`` bytes are here from an earlier try."""
        self._meter.already(count - self._here)
        self._here = count

    def found_whole(self, size: int) -> None:
        """All of it is here from an earlier try."""
        self.found(size)
        self.whole()

    def expects(self, size: int) -> None:
        """The file will have ``size`` bytes."""
        self._meter.expect(size - (self._size or 0), files=0 if self._size is not None else 1)
        self._size = size

    def at(self, count: int) -> None:
        """``count`` bytes of it are here."""
        self._meter.add(count - self._here)
        self._here = count

    def whole(self) -> None:
        """It is here, and this is its size."""
        self.expects(self._here)
        self._meter.file_done()

    def end(self) -> None:
        """It is here; if its size was told before, all of that."""
        self.at(self._here if self._size is None else self._size)
        self.whole()


class Board:
    """The meters of all jobs at work, by the job's key.

    ``on_change`` is called when a meter comes or goes, in the thread that brings it.
    """

    def __init__(
        self, on_change: Callable[[], object] = lambda: None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._on_change = on_change
        self._clock = clock
        self._lock = threading.Lock()
        self._shown: dict[int, list[_Shown]] = {}
        self._moved: Counter[Phase] = Counter()

    @contextmanager
    def of_job(self, job_key: int) -> Iterator[None]:
        """Within the block, what this thread has ``metered`` is shown as that job's."""
        token = _here.set((self, job_key))
        try:
            yield
        finally:
            _here.reset(token)

    @contextmanager
    def meter(self, job_key: int, phase: Phase) -> Iterator[Meter]:
        """Within the block the meter is shown."""
        meter = Meter(phase, self._clock)
        shown = _Shown(meter, self._clock)
        with self._lock:
            self._shown.setdefault(job_key, []).append(shown)
        self._on_change()
        try:
            yield meter
            shown.tell_end()
        finally:
            with self._lock:
                self._moved[phase] += max(0, meter.whole()[0])
                self._shown[job_key].remove(shown)
                if not self._shown[job_key]:
                    del self._shown[job_key]
            self._on_change()

    def busy(self) -> bool:
        """Something is under way."""
        return bool(self._shown)

    def moved(self) -> dict[str, int]:
        """Bytes that have moved since the start, by phase."""
        with self._lock:
            moved = Counter(self._moved)
            for one in (one for of_job in self._shown.values() for one in of_job):
                moved[one.meter.phase] += max(0, one.meter.whole()[0])
        return {phase: moved[phase] for phase in get_args(Phase)}

    def readings(self) -> dict[int, list[dict[str, Any]]]:
        """Each job's meters now, as plain values."""
        with self._lock:
            shown = {key: list(of_job) for key, of_job in self._shown.items()}
        return {key: [asdict(one.meter.read()) for one in of_job] for key, of_job in shown.items()}

    def tell(self) -> None:
        """Log a line about each thing that lasts long, at most every ``LINE_SECONDS``. Call it often."""
        with self._lock:
            shown = [one for of_job in self._shown.values() for one in of_job]
        for one in shown:
            one.tell()


class _Shown:
    """A meter on the board, and what the log has heard of it."""

    def __init__(self, meter: Meter, clock: Callable[[], float]) -> None:
        self.meter = meter
        self._clock = clock
        self._next_line = clock() + LONG_SECONDS
        self._context: Context = copy_context()  # the lines carry the job's id, whichever thread logs them

    def tell(self) -> None:
        now = self._clock()
        if now < self._next_line:
            return
        self._next_line = now + LINE_SECONDS
        said = {name: value for name, value in asdict(self.meter.read()).items() if value is not None}
        self._log("transfer.progress", {name: _whole(value) for name, value in said.items()})

    def tell_end(self) -> None:
        moved, seconds, rate = self.meter.whole()
        if seconds >= LONG_SECONDS:
            figures = {"phase": self.meter.phase, "bytes": moved, "seconds": round(seconds, 1)}
            self._log("transfer.finished", figures | {"rate": round(rate)})

    def _log(self, event: str, fields: Mapping[str, object]) -> None:
        self._context.copy().run(lambda: log.info(event, extra=fields))


def _whole(value: Any) -> Any:
    return round(value) if isinstance(value, float) else value


_here: ContextVar[tuple[Board, int] | None] = ContextVar("board", default=None)


@contextmanager
def metered(phase: Phase) -> Iterator[Meter]:
    """A meter for what this thread begins; shown on the board if there is one (see ``Board.of_job``)."""
    here = _here.get()
    if here is None:
        yield Meter(phase)
    else:
        board, job_key = here
        with board.meter(job_key, phase) as meter:
            yield meter
