"""Removes what ended jobs left: containers that no live job claims, folders of reported jobs.

A sweep and not a step: leftovers can neither block nor fail a job, and what could not be removed now is
tried again at the next sweep. Containers go at once; folders once nothing has happened to their job for
``keep`` seconds (``KEEP_JOBS``), except that those of deleted jobs go at once too: their data is nobody's.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from jobfetcher.failpoints import failpoint
from jobfetcher.workspace import Folders
from persistence.errors import StoreUnavailable
from persistence.store import SqlStore
from states.errors import Paused
from states.job import Job
from states.ports import Runner

log = logging.getLogger(__name__)

TOGETHER_SECONDS = 0.05
"""A job's end and the news that it is reported come one after the other: one sweep for both."""


class Sweeper:
    """``period`` is the number of seconds between sweeps nobody asked for; ``grace`` is what a container
    of a job that is no longer ours gets to end by itself; ``keep`` is how long a folder stays; ``after`` is
    called after each sweep: there may be room again."""

    def __init__(
        self,
        store: SqlStore,
        runner: Runner,
        folders: Folders,
        grace: float = 10,
        period: float = 60,
        keep: float = 0,
        after: Callable[[], object] = lambda: None,
    ) -> None:
        self._store = store
        self._runner = runner
        self._folders = folders
        self._grace = grace
        self._period = period
        self._keep = keep
        self._after = after
        self.turned_at = time.time()
        """When the thread last came round, in seconds since the epoch."""
        self._woken = threading.Event()
        self._stopping = False
        self._sweeping = threading.Lock()
        self._removing = threading.Lock()
        self._held: set[int] = set()

    def wake(self) -> None:
        """A job has ended, or its end was reported."""
        self._woken.set()

    def stop(self) -> None:
        """Let ``run`` return."""
        self._stopping = True
        self._woken.set()

    def run(self) -> None:
        """Body of the sweeper's thread."""
        while not self._stopping:
            self.turned_at = time.time()
            self._woken.clear()
            self.sweep()
            if self._woken.wait(self._period) and not self._stopping:
                time.sleep(TOGETHER_SECONDS)

    def sweep(self) -> None:
        """One sweep. Never raises for what could not be removed. Safe from any thread."""
        with self._sweeping:
            for part in (self._sweep, self._after):
                try:
                    part()
                except (Paused, StoreUnavailable) as error:
                    log.warning("sweep.postponed", extra={"reason": str(error)})
                except Exception:
                    log.exception("sweep.failed")

    def _sweep(self) -> None:
        stuck = self._sweep_runs()
        for job in self._store.sweepable(keep_seconds=self._keep):
            if job.run_name not in stuck:
                self.remove_folder(job)

    def unclaimed(self) -> list[str]:
        """Names of the runs that no live job claims. Raises ``Paused`` while the engine is away."""
        # Runs are listed before jobs: a run whose job begins in between is claimed when we look.
        runs = self._runner.owned()
        claimed = {job.run_name for job in self._store.live() if not job.gone}
        return [name for name in runs if name not in claimed]

    def remove_run(self, name: str, has_ended: bool = False) -> bool:
        """Stop a run, unless it has ended, and remove it. Whether it is gone; one that stays must not keep
        the others."""
        if self._stopping:
            return False
        self.turned_at = time.time()
        failpoint("sweep.before-remove")
        try:
            if not has_ended:
                self._runner.stop(name, self._grace)
            self._runner.remove(name)
        except Paused as stuck:
            log.warning("sweep.run-stays", extra={"run": name, "reason": str(stuck)})
            return False
        log.info("sweep.run-removed", extra={"run": name})
        return True

    def remove_folder(self, job: Job) -> bool:
        """Remove what an ended job has on the disk. Whether it is gone, and that is on record."""
        self.turned_at = time.time()
        with self._removing:
            if job.key in self._held:
                return False
            try:
                self._discard(job)
            except OSError as error:
                log.warning("sweep.folder-stays", extra={"job_id": job.id, "error": str(error)})
                return False
            failpoint("sweep.folder-removed")
            self._store.mark_swept(job.key)
        return True

    @contextmanager
    def holding(self, key: int) -> Iterator[None]:
        """Within the block the job's folder is not removed."""
        with self._removing:
            self._held.add(key)
        try:
            yield
        finally:
            with self._removing:
                self._held.discard(key)
            self.wake()

    def _sweep_runs(self) -> set[str]:
        """Names of the runs that should have gone and stay for now."""
        names = self.unclaimed()
        ended = {job.run_name for job in self._store.unswept() if job.facts.exit} if names else set()
        return {name for name in names if not self.remove_run(name, name in ended)}

    def _discard(self, job: Job) -> None:
        try:
            self._folders.discard(job)
        except PermissionError:
            # Folders that a container's root made, and this worker is not root.
            self._runner.clear(job, self._folders.home(job))
            self._folders.discard(job)
