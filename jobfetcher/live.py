"""What the worker is doing this moment, as plain values: for its status file and for the status page."""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from jobfetcher import board_file
from jobfetcher._version import __version__
from jobfetcher.hardware import Hardware
from jobfetcher.progress import Board
from persistence.errors import StoreUnavailable, StoreUnusable
from persistence.rows import LiveJob
from persistence.store import SqlStore
from states.ports import Resources

log = logging.getLogger(__name__)

BUSY_SECONDS = 1.0
"""Time between two writes while bytes move; also the least time between any two."""
HEARTBEAT_SECONDS = 10.0


class Health:
    """Whether the last word from somebody we depend on was a good one."""

    def __init__(self, on_change: Callable[[], object] = lambda: None) -> None:
        self._on_change = on_change
        self.ok: bool | None = None
        """None: nothing has been asked yet."""
        self.at: float | None = None
        """When that was, in seconds since the epoch."""
        self.error = ""
        """A sentence, if it was not good."""

    def note(self, error: Exception | None) -> None:
        """It answered well (None), or it did not."""
        before = self.ok
        self.ok, self.at, self.error = error is None, time.time(), "" if error is None else str(error)
        if self.ok is not before:
            self._on_change()

    @contextmanager
    def heard(self) -> Iterator[None]:
        """Note how the block ends."""
        try:
            yield
        except Exception as error:
            self.note(error)
            raise
        self.note(None)

    def as_dict(self) -> dict[str, Any]:
        return {"ok": self.ok, "at": self.at, "error": self.error}


@dataclass
class LiveStatus:
    """Everything there is to see of a running worker. Safe from any thread."""

    worker: str
    runner: str
    """``docker`` or ``process``."""
    api_url: str
    hardware: Hardware
    store: SqlStore
    board: Board
    api: Health
    engine: Health
    offered: Callable[[], Resources]
    places: int
    turns: Mapping[str, Callable[[], float]]
    """When each of the worker's threads last began a turn, in seconds since the epoch."""
    draining: Callable[[], bool] = lambda: False
    started_at: float = field(default_factory=time.time)
    _jobs: list[LiveJob] = field(default_factory=list, init=False)
    _unsent: int = field(default=0, init=False)

    def as_dict(self) -> dict[str, Any]:
        """All of it now; of a database that cannot be read just now, what it last said."""
        try:
            self._jobs, self._unsent = self.store.live_now(), self.store.count_unsent()
        except (StoreUnavailable, StoreUnusable) as error:
            log.debug("status.database-not-read", extra={"error": str(error)})
        return {
            "worker": self.worker,
            "pid": os.getpid(),
            "version": __version__,
            "started_at": self.started_at,
            "at": time.time(),
            "draining": self.draining(),
            "runner": self.runner,
            "api": {"url": self.api_url, **self.api.as_dict()},
            "engine": self.engine.as_dict(),
            "database": {"full": self.store.reserve.full},
            "hardware": asdict(self.hardware),
            "offered": self.offered().model_dump(),
            "places": self.places,
            "unsent": self._unsent,
            "threads": {name: turned() for name, turned in self.turns.items()},
            "jobs": self._live_jobs(),
        }

    def _live_jobs(self) -> dict[str, dict[str, Any]]:
        readings = self.board.readings()
        return {
            str(job.key): {
                "id": job.api_id,
                "state": job.state,
                "attempt": job.attempts,
                "meters": readings.get(job.key, []),
            }
            for job in self._jobs
        }


class Clerk:
    """Keeps the status file up to date in a thread of its own, and lets the board tell the log.

    A context manager; leaving it removes the file. It writes when ``wake`` is called, each second while
    something is under way, and every ``HEARTBEAT_SECONDS``; never more than once in ``BUSY_SECONDS``.
    """

    def __init__(self, folder: Path, status: LiveStatus) -> None:
        self._folder = folder
        self._status = status
        self._changed = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="clerk", daemon=True)
        self._wrote = True

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._changed.set()
        self._thread.join(timeout=2)
        board_file.remove(self._folder)

    def wake(self) -> None:
        """Something has changed."""
        self._changed.set()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._changed.clear()
            soonest = time.monotonic() + BUSY_SECONDS
            self.write()
            self._status.board.tell()
            if not self._status.board.busy():
                self._changed.wait(HEARTBEAT_SECONDS)
            self._stopping.wait(max(0.0, soonest - time.monotonic()))

    def write(self) -> None:
        """Write the file now. A disk that is full is no reason to stop, and is told once."""
        try:
            board_file.write(self._folder, self._status.as_dict())
            self._wrote = True
        except OSError as error:
            if self._wrote:
                log.warning("status.not-written", extra={"error": str(error)})
            self._wrote = False
        except Exception:
            log.exception("status.stumbled")
