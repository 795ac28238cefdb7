"""Removes what ended jobs left: containers that no live job claims, folders of reported jobs.

A sweep and not a step: leftovers can neither block nor fail a job, and what could not be removed now is
tried again at the next sweep.
"""

import logging
import threading

from jobfetcher.failpoints import failpoint
from jobfetcher.workspace import Folders
from persistence.errors import StoreUnavailable
from persistence.store import SqlStore
from states.errors import Paused
from states.job import Job
from states.ports import Runner

log = logging.getLogger(__name__)


class Sweeper:
    """``period`` is the number of seconds between sweeps nobody asked for; ``grace`` is what a container
    of a job that is no longer ours gets to end by itself."""

    def __init__(
        self, store: SqlStore, runner: Runner, folders: Folders, grace: float = 10, period: float = 60
    ) -> None:
        self._store = store
        self._runner = runner
        self._folders = folders
        self._grace = grace
        self._period = period
        self._woken = threading.Event()
        self._stopping = False

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
            self._woken.clear()
            self.sweep()
            self._woken.wait(self._period)

    def sweep(self) -> None:
        """One sweep. Never raises for what could not be removed."""
        try:
            stuck = self._sweep_runs()
            for job in self._store.sweepable():
                if job.run_name not in stuck:
                    self._sweep_folder(job)
        except (Paused, StoreUnavailable) as error:
            log.warning("sweep.postponed", extra={"reason": str(error)})
        except Exception:
            log.exception("sweep.failed")

    def _sweep_runs(self) -> set[str]:
        """Names of the runs that should have gone and stay for now."""
        # Runs are listed before jobs: a run whose job begins in between is claimed when we look.
        runs = self._runner.owned()
        claimed = {job.run_name for job in self._store.live() if not job.gone}
        return {name for name in runs if name not in claimed and not self._sweep_run(name)}

    def _sweep_run(self, name: str) -> bool:
        """Whether it is gone. One that stays must not keep the others from going."""
        if self._stopping:
            return False
        failpoint("sweep.before-remove")
        try:
            self._runner.stop(name, self._grace)
            self._runner.remove(name)
        except Paused as stuck:
            log.warning("sweep.run-stays", extra={"run": name, "reason": str(stuck)})
            return False
        log.info("sweep.run-removed", extra={"run": name})
        return True

    def _sweep_folder(self, job: Job) -> None:
        try:
            self._discard(job)
        except OSError as error:
            log.warning("sweep.folder-stays", extra={"job_id": job.id, "error": str(error)})
            return
        failpoint("sweep.folder-removed")
        self._store.mark_swept(job.key)

    def _discard(self, job: Job) -> None:
        try:
            self._folders.discard(job)
        except PermissionError:
            # Folders that a container's root made, and this worker is not root.
            self._runner.clear(job, self._folders.home(job))
            self._folders.discard(job)
