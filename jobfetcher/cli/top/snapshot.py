"""What 'top' shows, all of it taken at one moment: the worker's own report, its database, the machine."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobfetcher.cli import look
from jobfetcher.cli.moving import NOTHING, Meters
from jobfetcher.cli.top.machine import Machine
from jobfetcher.lock import holder
from persistence.errors import StoreUnavailable, StoreUnusable
from persistence.reader import JobRow, Reader, open_reader
from persistence.requests import DRAINING

ENDED = 50
"""Jobs that ended, at most; the latest."""

Board = Callable[[Path], Mapping[str, Any] | None]
"""The report of the worker whose folder it is; None if there is none."""


@dataclass(frozen=True)
class Snapshot:
    """One look. Every part is of plain values, as ``--json`` prints it."""

    at: float
    running: bool
    """The worker holds its folder."""
    worker: dict[str, Any] = field(default_factory=dict)
    """Its last report, without the jobs; empty if there never was one."""
    machine: dict[str, Any] = field(default_factory=dict)
    jobs: list[dict[str, Any]] = field(default_factory=list)
    """At work or waiting, oldest first."""
    unsent: list[dict[str, Any]] = field(default_factory=list)
    """What the API has yet to hear, oldest first."""
    ended: list[dict[str, Any]] = field(default_factory=list)
    """The jobs that ended last, the latest first."""
    counts: dict[str, int] = field(default_factory=dict)
    """How many jobs are in each state."""
    draining: bool = False
    """It takes no new jobs, now or when it is started."""
    problem: str = ""
    """Why the database cannot be read at the moment; a sentence."""


class Lookout:
    """Looks at one worker. The database is opened for each look and closed again, so that a worker that ends
    meanwhile leaves it tidy. ``file``: its database; ``base``: its folder.
    """

    def __init__(
        self, file: Path, base: Path, board: Board, machine: Machine, clock: Callable[[], float] = time.time
    ) -> None:
        self.file = file
        self._base = base
        self._board = board
        self._machine = machine
        self._clock = clock

    def look(self) -> Snapshot:
        """Everything, now. A database that cannot be read is named in ``problem``."""
        now = self._clock()
        worker = dict(self._board(self._base) or {})
        meters = _meters(worker)
        worker.pop("jobs", None)
        running = holder(self._base) is not None
        stored, problem = self._stored(meters if running else NOTHING)
        return Snapshot(now, running, worker, self._machine.read(), **stored, problem=problem)

    def job(self, key: int, api_id: str) -> dict[str, Any] | None:
        """All that is known of one job. None if it is not there, or cannot be read at the moment."""
        meters = _meters(self._board(self._base) or {})
        try:
            with open_reader(self.file) as reader:
                found = [look.everything(row, reader, meters) for row in reader.job(api_id) if row.key == key]
        except (StoreUnavailable, StoreUnusable):
            return None
        return found[0] if found else None

    def _stored(self, meters: Meters) -> tuple[dict[str, Any], str]:
        try:
            with open_reader(self.file) as reader:
                return _read(reader, meters), ""
        except (StoreUnavailable, StoreUnusable) as error:
            return {}, str(error)


def _meters(report: Mapping[str, Any]) -> Meters:
    return {key: job.get("meters") or [] for key, job in (report.get("jobs") or {}).items()}


def _read(reader: Reader, meters: Meters) -> dict[str, Any]:
    unsent = reader.unsent_counts()

    def line(row: JobRow, since: float) -> dict[str, Any]:
        return {"key": row.key, **look.summary(row, unsent.get(row.key, 0), meters), "since": since}

    return {
        "jobs": [line(row, since) for since, row in reader.at_work()],
        "unsent": [
            {
                "key": row.job_key,
                "id": api_id,
                "status": row.status,
                "detail": row.detail,
                "at": row.queued_at,
            }
            for api_id, row in reader.unsent()
        ],
        "ended": [line(row, at) for at, row in reader.lately_ended(ENDED)],
        "counts": reader.counts(),
        "draining": DRAINING in reader.flags(),
    }
