"""Removes now what the sweeper would remove, what ``KEEP_JOBS`` still keeps, and what nobody claims."""

import os
import shutil
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from jobfetcher.sweeper import Sweeper
from jobfetcher.workspace import Folders
from persistence.store import SqlStore
from states.errors import Paused
from states.job import Job

LEAST_HISTORY = 86400.0
"""Seconds that an ended job is remembered at the least: a lease delivered again is recognised by its row."""

EVERY = 1_000_000


@dataclass
class Pruned:
    """What was removed, or would be."""

    containers: int = 0
    folders: int = 0
    bytes: int = 0
    """Of the folders' files."""
    rows: dict[str, int] = field(default_factory=dict)
    """Of the database, by table."""
    stays: list[str] = field(default_factory=list)
    """What could not be removed: folders, containers."""
    engine: str = ""
    """Why containers could not be looked for; empty if they could."""


class Pruning:
    """Prunes once per call. Safe beside the sweeper's own thread, and to repeat."""

    def __init__(self, store: SqlStore, sweeper: Sweeper, folders: Folders) -> None:
        self._store = store
        self._sweeper = sweeper
        self._folders = folders

    def prune(self, history: float | None, dry_run: bool) -> Pruned:
        """``history``: also forget jobs that ended so many seconds ago. Raises ``persistence.errors``."""
        done = Pruned()
        stuck = self._runs(done, dry_run)
        orphans = self._orphans()
        for job in self._store.sweepable(limit=EVERY):
            size = measure(home := self._folders.home(job))
            there = home.exists()
            if dry_run or (job.run_name not in stuck and self._gone(job)):
                done.folders += there
                done.bytes += size
            else:
                done.stays.append(str(home))
        for orphan in orphans:
            self._orphan(orphan, done, dry_run)
        if history is not None:
            seconds = max(history, LEAST_HISTORY)
            count = self._store.count_past if dry_run else self._store.forget_past
            done.rows = count(seconds)
        return done

    def _gone(self, job: Job) -> bool:
        try:
            return self._sweeper.remove_folder(job)
        except Paused:  # only the engine could have removed it
            return False

    def _runs(self, done: Pruned, dry_run: bool) -> set[str]:
        """Names of the runs that stay."""
        try:
            unclaimed = self._sweeper.unclaimed()
        except Paused as away:
            done.engine = str(away)
            return set()
        stuck = set() if dry_run else {name for name in unclaimed if not self._sweeper.remove_run(name)}
        done.containers = len(unclaimed) - len(stuck)
        done.stays += sorted(stuck)
        return stuck

    def _orphans(self) -> list[Path]:
        """Folders that no job of the database claims: those of a database that was lost."""
        # Folders are listed before jobs: the folder of a job that begins in between is claimed.
        found = list(self._folders.jobs.iterdir()) if self._folders.jobs.is_dir() else []
        claimed = {job.slug for job in (*self._store.live(), *self._store.unswept())}
        return sorted(place for place in found if place.is_dir() and place.name not in claimed)

    def _orphan(self, folder: Path, done: Pruned, dry_run: bool) -> None:
        size = measure(folder)
        if not dry_run:
            with suppress(OSError):
                shutil.rmtree(folder)
            if folder.exists():
                done.stays.append(str(folder))
                return
        done.folders += 1
        done.bytes += size


def measure(folder: Path) -> int:
    """Bytes of all regular files below ``folder``; what may not be read counts nothing. Follows no links."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                found = Path(place, name).lstat()
                total += found.st_size
    return total
