"""Who holds which part of this machine. The ledger is the database: what a job holds is among its facts.

So there is nothing to rebuild after a restart: each question looks at the machine and at the jobs anew.
"""

import logging
import threading
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Protocol

from jobfetcher.failpoints import failpoint
from jobfetcher.hardware import Hardware
from jobfetcher.shares import Book, Free, Holding, holders, offered, shared_out
from states.errors import Paused
from states.job import Job

log = logging.getLogger(__name__)


class Jobs(Protocol):
    """What the ledger is kept in: the store."""

    def live(self) -> list[Job]: ...
    def unswept(self) -> list[Job]: ...
    def note(self, job: Job) -> Job: ...


class Ledger:
    """Shares the machine that ``look`` sees out between at most ``places`` jobs. Safe from any thread.

    ``runs`` names the runs of this worker that its engine still knows.
    """

    def __init__(
        self,
        store: Jobs,
        look: Callable[[], Hardware],
        places: int = 1,
        runs: Callable[[], Collection[str]] = tuple,
    ) -> None:
        self._store = store
        self._look = look
        self._places = places
        self._runs = runs
        self._lock = threading.Lock()
        self._promised: dict[int, Job] = {}
        """Jobs whose part is set aside, and about to be committed."""

    def free(self) -> Free | None:
        """What can be offered for one more job now; None: nothing useful."""
        with self._lock:
            machine = self._look()
            return offered(machine, shared_out(machine, self._places, self._holders(), self._leaving()))

    def promise(self, job: Job) -> Job:
        """The job with what it will hold among its facts, to be committed with its next move.

        Those who came before it and have yet to take their part have it set aside. Raises ``Paused``.
        """
        with self._lock:
            self._promised.pop(job.key, None)
            got = self._given(job)
            promised = job.with_facts(share=got.share, gpus=got.gpus)
            if self._places > 1:
                self._promised[job.key] = promised
        failpoint("share.promised")
        log.info("share.taken", extra={**got.share.model_dump(), "gpus": got.gpus})
        return promised

    def hold(self, job: Job) -> Job:
        """The job with what it holds among its facts, committed; see ``states.ports.Tools.hold``.

        Others are set aside as in ``promise``. Raises ``Paused``.
        """
        if job.facts.run is not None:
            return job
        with self._lock:
            had = Holding(job.facts.share, job.facts.gpus) if job.facts.share is not None else None
            got = self._given(job)
            if had == got:
                return job
            noted = self._store.note(job.with_facts(share=got.share, gpus=got.gpus))
        log.info("share.taken", extra={**got.share.model_dump(), "gpus": got.gpus})
        return noted

    def _given(self, job: Job) -> Holding:
        book = Book(self._look(), self._places)
        others = self._holders()
        book.held([*others, *self._leaving()])
        for earlier in others:
            if earlier.key < job.key:
                with suppress(Paused):
                    book.give(earlier)
        return book.give(job)

    def _holders(self) -> list[Job]:
        """Live jobs, oldest first. Alone on its machine a job need not ask for others."""
        if self._places == 1:
            return []
        live = self._store.live()
        versions = {job.key: job.version for job in live}
        # A job that has moved since has its part on record, or will not have it.
        self._promised = {k: job for k, job in self._promised.items() if versions.get(k) == job.version}
        return holders(self._promised.get(job.key, job) for job in live)

    def _leaving(self) -> list[Job]:
        """Jobs that have ended while their container may still run: it has been told to stop, or will be."""
        ended = self._store.unswept()
        doubtful = [job for job in ended if job.facts.run is not None and job.facts.exit is None]
        there = frozenset(self._runs()) if doubtful else frozenset()
        return [job for job in doubtful if job.run_name in there]
