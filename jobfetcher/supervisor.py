"""Starts and ends the worker: its threads, and signals.

The first SIGTERM, SIGINT or SIGHUP: fetch no more, leave containers running, exit within five seconds with
everything persisted. A second one exits at once. Either way the next start goes on.
"""

import logging
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType

from jobfetcher.control import Control
from jobfetcher.reporter import Reporter
from jobfetcher.sweeper import Sweeper
from jobfetcher.worker import Worker

log = logging.getLogger(__name__)

SHUTDOWN_SECONDS = 4.0
"""What the threads get to leave what they do, of the five seconds that are promised."""

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_LOCKED = 3


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
        self._over = False

    def run(self) -> None:
        """Run until stopped, or drained. Call from the main thread."""
        parts = ((self._reporter, "reporter"), (self._sweeper, "sweeper"), (self._control, "control"))
        threads = [
            threading.Thread(target=self._guard, args=(part.run, name), name=name, daemon=True)
            for part, name in parts
        ]
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN or number != signal.SIGHUP:  # nohup
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
            if self._over:  # one that could not be waited for finds the database closed
                return
            try:
                log.exception("supervisor.thread-died", extra={"died": name})
            finally:
                os._exit(EXIT_FAILED)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._signals += 1
        if number == signal.SIGHUP and self._signals > 1:
            return  # a terminal that is closed sends it twice, by its shell and of itself
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
        self._over = True
        busy = [thread.name for thread in threads if thread.is_alive()]
        log.info("worker.stopped", extra={"clean": clean and not busy})
