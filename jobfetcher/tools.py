"""What one job's steps work with, put together for that job."""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextvars import copy_context
from dataclasses import dataclass

from jobfetcher.stop import StopSignal
from states.errors import Paused
from states.job import Job
from states.ports import Lease, Runner, Stop, Store, Transfers, Workspace

log = logging.getLogger(__name__)

STUMBLE_SECONDS = 0.5
"""First wait after an unexpected error; it doubles with each attempt."""


@dataclass(frozen=True)
class JobTools:
    """Implements ``states.ports.Tools``."""

    workspace: Workspace
    transfers: Transfers
    runner: Runner
    lease: Lease
    store: Store
    stop: StopSignal
    hold: Callable[[Job], Job] = lambda job: job
    """``Ledger.hold``; without it a job has whatever the machine gives."""

    def together(self, first: Callable[[Stop], object], second: Callable[[Stop], object]) -> None:
        """Run both side by side, each in a thread with a stop signal of its own.

        ``Paused`` on one side lets the other finish (a pull that took an hour is worth keeping); any
        other error ends it early.
        """
        stop = StopSignal()
        with (
            self.stop.interrupts(lambda: stop.set(self.stop.reason or "shutdown", self.stop.detail)),
            ThreadPoolExecutor(2, thread_name_prefix=threading.current_thread().name) as pool,
        ):
            futures = [pool.submit(copy_context().run, work, stop) for work in (first, second)]
            for future in as_completed(futures):
                if (error := future.exception()) and not isinstance(error, Paused):
                    stop.set("shutdown")
                    raise error
        for future in futures:
            future.result()

    def note(self, job: Job) -> Job:
        return self.store.note(job)

    def settle(self, job: Job) -> None:
        self.store.forgive(job)

    def stumbled(self, job: Job, error: Exception) -> None:
        log.error("job.stumbled", exc_info=error, extra={"state": str(job.state), "attempt": job.attempts})
        self.stop.wait(STUMBLE_SECONDS * 2 ** (job.attempts - 1))
