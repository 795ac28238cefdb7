"""What one job's steps work with, put together for that job."""

import logging
import threading
from collections.abc import Callable
from contextvars import copy_context
from dataclasses import dataclass, field
from typing import Protocol

from jobfetcher.stop import StopSignal
from states.errors import Paused
from states.job import Job
from states.ports import Lease, Runner, Stop, Store, Transfers, Workspace

log = logging.getLogger(__name__)

STUMBLE_SECONDS = 0.5
"""First wait after an unexpected error; it doubles with each attempt."""


class Sharing(Protocol):
    """Who gives jobs their parts of the machine: the ledger."""

    def promise(self, job: Job) -> Job: ...
    def hold(self, job: Job) -> Job: ...


class Unshared:
    """A job has whatever the machine gives."""

    def promise(self, job: Job) -> Job:
        return job

    def hold(self, job: Job) -> Job:
        return job


@dataclass(frozen=True)
class JobTools:
    """Implements ``states.ports.Tools``."""

    workspace: Workspace
    transfers: Transfers
    runner: Runner
    lease: Lease
    store: Store
    stop: StopSignal
    share: Sharing = field(default_factory=Unshared)
    """The ledger; without one a job has whatever the machine gives."""

    def together(self, first: Callable[[Stop], object], second: Callable[[Stop], object]) -> None:
        """Run both side by side, with a stop signal of their own; the first one in another thread.

        ``Paused`` on one side lets the other finish (a pull that took an hour is worth keeping); any
        other error ends it early.
        """
        stop = StopSignal()
        errors: list[BaseException] = []

        def side(work: Callable[[Stop], object]) -> None:
            try:
                work(stop)
            except BaseException as error:  # raised below, in the job's own thread
                errors.append(error)
                if not isinstance(error, Paused):
                    stop.set("shutdown")

        name = f"{threading.current_thread().name} beside"
        beside = threading.Thread(target=copy_context().run, args=(side, first), name=name, daemon=True)
        with self.stop.interrupts(lambda: stop.set(self.stop.reason or "shutdown", self.stop.detail)):
            beside.start()
            side(second)
            beside.join()
        if errors:
            raise next((error for error in errors if not isinstance(error, Paused)), errors[0])

    def promise(self, job: Job) -> Job:
        return self.share.promise(job)

    def hold(self, job: Job) -> Job:
        return self.share.hold(job)

    def note(self, job: Job) -> Job:
        return self.store.note(job)

    def settle(self, job: Job) -> Job:
        return self.store.settle(job)

    def stumbled(self, job: Job, error: Exception) -> None:
        log.error("job.stumbled", exc_info=error, extra={"state": str(job.state), "attempt": job.attempts})
        self.stop.wait(STUMBLE_SECONDS * 2 ** (job.attempts - 1))
