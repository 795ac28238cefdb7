"""Starts and ends the worker: the lock on its state folder, its threads, and signals.

The first SIGTERM or SIGINT: fetch no more, leave containers running, exit within five seconds with
everything persisted. A second one exits at once. Either way the next start goes on.
"""

import contextlib
import fcntl
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import TextIO

from jobfetcher.control import Control
from jobfetcher.reporter import Reporter
from jobfetcher.sweeper import Sweeper
from jobfetcher.worker import Worker

log = logging.getLogger(__name__)

SHUTDOWN_SECONDS = 4.0
"""What the threads get to leave what they do, of the five seconds that are promised."""

LOCK_SECONDS = 1.0
"""How long the lock may be held by somebody who only looks at it."""

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_LOCKED = 3


class Locked(Exception):
    """The state folder cannot be had alone: another worker uses it, or its file system has no locks."""


@contextlib.contextmanager
def state_lock(folder: Path) -> Iterator[None]:
    """Hold the state folder alone. The lock dies with the process, however it dies.

    Raises ``Locked`` with the other worker's process id.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "jobfetcher.lock").open("a+") as file:
        try:
            _take(file)
        except BlockingIOError:
            file.seek(0)
            pid = file.read().strip() or "unknown"
            raise Locked(
                f"Another worker (process {pid}) already uses {folder}. "
                "Stop it first, or give this one another PATH_BASE."
            ) from None
        except OSError as error:
            raise Locked(
                f"The file system of {folder} has no working locks ({error.strerror}), so a second worker "
                "could not be noticed. Choose a PATH_BASE on a local disk."
            ) from error
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def _take(file: TextIO) -> None:
    """Lock the file, or raise ``OSError``. Tried for a moment: 'doctor' holds it for an instant to look."""
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise
            time.sleep(LOCK_SECONDS / 50)


class Supervisor:
    """Runs a worker with its reporter, sweeper and control until a signal ends it."""

    def __init__(
        self,
        worker: Worker,
        reporter: Reporter,
        sweeper: Sweeper,
        control: Control,
        on_ready: Callable[[], object] = lambda: None,
        on_stopping: Callable[[], object] = lambda: None,
    ) -> None:
        self._worker = worker
        self._reporter = reporter
        self._sweeper = sweeper
        self._control = control
        self._on_ready = on_ready
        self._on_stopping = on_stopping
        self._signals = 0

    def run(self) -> None:
        """Run until stopped, or drained. Call from the main thread."""
        parts = ((self._reporter, "reporter"), (self._sweeper, "sweeper"), (self._control, "control"))
        threads = [
            threading.Thread(target=self._guard, args=(part.run, name), name=name, daemon=True)
            for part, name in parts
        ]
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        self._control.begin()
        for thread in threads:
            thread.start()
        self._on_ready()
        try:
            self._worker.run()
        finally:
            self._shut_down(threads)

    def _guard(self, body: Callable[[], None], name: str) -> None:
        """A worker without one of its threads is alive but silent: end it, and let it be started again."""
        try:
            body()
        except Exception:
            try:
                log.exception("supervisor.thread-died", extra={"died": name})
            finally:
                os._exit(EXIT_FAILED)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._signals += 1
        if self._signals > 1:
            os._exit(128 + number)
        # In a thread of its own: the handler may have interrupted a holder of the locks that stop takes.
        threading.Thread(target=self._worker.stop, name="stopper", daemon=True).start()

    def _shut_down(self, threads: list[threading.Thread]) -> None:
        log.info("worker.stopping")
        self._on_stopping()
        self._worker.stop()
        self._control.stop()
        self._reporter.stop()
        self._sweeper.stop()
        clean = self._worker.join(SHUTDOWN_SECONDS / 2)
        for thread in threads:
            thread.join(SHUTDOWN_SECONDS / 2 / len(threads))
        busy = [thread.name for thread in threads if thread.is_alive()]
        log.info("worker.stopped", extra={"clean": clean and not busy})
