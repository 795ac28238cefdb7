"""What a page or a monitor that asks each second may ask: the database at a glance, read cheaply.

A specification may name thousands of files, and an ended job never changes: nothing is read twice that
cannot have changed in between.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from persistence.reader import MOVES, Reader
from persistence.rows import MoveRow

LIVE = "state IN ('downloading', 'fetched', 'running', 'uploading')"
"""Letter for letter the condition of the index of live jobs: else every job is read. A test compares."""

COLUMNS = {
    "key": "key",
    "id": "api_id",
    "delivery": "delivery",
    "state": "state",
    "version": "version",
    "attempts": "attempts",
    "run": "run",
    "told": "told",
    "gone": "gone",
    "created": "created_at",
    "since": "(SELECT max(at) FROM moves WHERE job_key = jobs.key)",
    "detail": "coalesce(json_extract(facts, '$.detail'), '')",
    "gpus": "coalesce(json_extract(facts, '$.gpus'), '[]')",
}
"""Fields of ``Glance`` and where they come from."""
GLANCE = (
    f"SELECT {', '.join(COLUMNS.values())} FROM jobs "
    "WHERE key IN (SELECT key FROM (SELECT key FROM jobs ORDER BY key DESC LIMIT ?) "
    f"UNION SELECT key FROM jobs WHERE {LIVE}) ORDER BY key DESC"
)
SIGN = "SELECT max(id), count(*) FROM moves"
"""Differs whenever a job has come, moved or been forgotten."""
IMAGE = "SELECT json_extract(spec, '$.handler.image_url') FROM jobs WHERE key = ?"
WAITING = (
    "SELECT job_key, count(*) FROM outbox JOIN jobs ON jobs.key = outbox.job_key "
    "WHERE sent_at IS NULL AND NOT jobs.gone GROUP BY job_key"
)
OLDEST = (
    "SELECT count(*), min(queued_at) FROM outbox JOIN jobs ON jobs.key = outbox.job_key "
    "WHERE sent_at IS NULL AND NOT jobs.gone"
)
STAYS = (
    "SELECT moves.id, moves.source, moves.target, moves.because, moves.at - (SELECT earlier.at FROM moves "
    "AS earlier WHERE earlier.job_key = moves.job_key AND earlier.id < moves.id ORDER BY earlier.id DESC "
    "LIMIT 1) FROM moves WHERE moves.id > ? AND moves.source IS NOT NULL ORDER BY moves.id"
)


@dataclass(frozen=True)
class Glance:
    """A job in one line, with its history."""

    key: int
    id: str
    delivery: int
    state: str
    version: int
    attempts: int
    run: int
    told: str
    gone: bool
    created: float
    """Seconds since the epoch, as ``since``."""
    since: float
    """When it came into its state."""
    detail: str
    gpus: str
    """A JSON list."""
    image: str
    unsent: int
    moves: tuple[MoveRow, ...]


@dataclass(frozen=True)
class Stay:
    """A state that a job has left."""

    id: int
    """Grows with every move."""
    state: str
    target: str
    because: str
    seconds: float


class Memory:
    """What earlier looks have learned and cannot change any more. One for all looks of a process."""

    def __init__(self) -> None:
        self.images: dict[int, str] = {}
        self.moves: dict[tuple[int, int], tuple[MoveRow, ...]] = {}
        """By the job's key and version."""
        self.counts: tuple[object, dict[str, int]] = (None, {})
        """With the sign under which they were counted."""

    def keep(self, glances: list[Glance]) -> None:
        """Forget all but these."""
        self.images = {job.key: job.image for job in glances}
        self.moves = {(job.key, job.version): job.moves for job in glances}


class Overview(Reader):
    """A ``Reader`` for those who ask often."""

    def __init__(self, path: Path, memory: Memory | None = None) -> None:
        super().__init__(path)
        self._memory = memory or Memory()

    def counts(self) -> dict[str, int]:
        """How many jobs are in each state. Counted anew only if something has happened since."""
        sign = self._query(SIGN)[0]
        if self._memory.counts[0] != sign:
            self._memory.counts = (sign, super().counts())
        return self._memory.counts[1]

    def glances(self, limit: int) -> list[Glance]:
        """The ``limit`` newest jobs and all that have not ended, newest first."""
        waiting = dict(self._query(WAITING))
        found = [self._glance(row, waiting) for row in self._query(GLANCE, limit)]
        self._memory.keep(found)
        return found

    def oldest_unsent(self) -> tuple[int, float | None]:
        """How many updates the API has yet to hear, and since when the oldest waits."""
        count, since = self._query(OLDEST)[0]
        return count, since

    def stays(self, after: int) -> list[Stay]:
        """The states that jobs have left, by moves later than the one with the id ``after``."""
        return [Stay(*row) for row in self._query(STAYS, after)]

    def _glance(self, row: tuple[Any, ...], waiting: dict[int, int]) -> Glance:
        values = dict(zip(COLUMNS, row, strict=True))
        key = values["key"]
        learned = {"image": self._image(key), "moves": self._moves(key, values["version"])}
        return Glance(**{**values, **learned, "gone": bool(values["gone"])}, unsent=waiting.get(key, 0))

    def _moves(self, key: int, version: int) -> tuple[MoveRow, ...]:
        known = self._memory.moves.get((key, version))
        return known or tuple(MoveRow(*row) for row in self._query(MOVES, key))

    def _image(self, key: int) -> str:
        known = self._memory.images.get(key)
        return known if known is not None else str(self._query(IMAGE, key)[0][0] or "")
