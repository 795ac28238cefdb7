"""What the page's script and other programs are told, as plain values without secrets."""

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from jobfetcher.cli.look import TERMINAL, everything, stays
from jobfetcher.logs import Masked
from jobfetcher.status.health import Disk, Live, ready, works
from persistence.errors import StoreUnavailable, StoreUnusable
from persistence.overview import Glance, Memory, Overview

RECENT = 100
"""Jobs that the page lists, besides those that have not ended."""
MASK = "***"


@dataclass(frozen=True)
class Worker:
    """Where what is shown comes from."""

    live: Live
    database: Path
    folder: Path
    """The disk that it lies on is watched."""
    least_free: int
    """Bytes that must stay free."""
    memory: Memory = field(default_factory=Memory)
    secrets: tuple[str, ...] = ()
    lines: dict[int, tuple[Glance, dict[str, Any]]] = field(default_factory=dict)
    """Of ended jobs, by key: what they were when last looked at, and how that was told."""

    def overview(self) -> Overview:
        """The database, for one look. Raises ``persistence.errors``."""
        return Overview(self.database, self.memory)

    def disk(self) -> Disk:
        usage = shutil.disk_usage(self.folder)
        return Disk(usage.free, usage.total, self.least_free)


def live(worker: Worker) -> dict[str, Any]:
    """The worker's own view."""
    return dict(clean(worker.live.as_dict(), Masked(worker.secrets).mask))


def status(worker: Worker) -> dict[str, Any]:
    """The worker now, and its latest jobs."""
    now, disk = live(worker), worker.disk()
    verdicts = {"health": works(now, disk).as_dict(), "ready": ready(now, disk).as_dict()}
    return {**now, **verdicts, "disk": asdict(disk), **_from_database(worker)}


def _from_database(worker: Worker) -> dict[str, Any]:
    try:
        with worker.overview() as overview:
            return {
                "counts": overview.counts(),
                "recent": _lines(worker, overview.glances(RECENT)),
                "database": "",
            }
    except (StoreUnavailable, StoreUnusable) as error:
        return {"counts": {}, "recent": [], "database": str(error)}


def _lines(worker: Worker, jobs: list[Glance]) -> list[dict[str, Any]]:
    """Each job in one line. One that has ended and not changed is not put together again."""
    known = dict(worker.lines)
    worker.lines.clear()
    told = []
    for job in jobs:
        before, line = known.get(job.key, (None, {}))
        told.append(line if job == before else _line(worker, job))
        if job.state in TERMINAL:
            worker.lines[job.key] = (job, told[-1])
    return told


def _line(worker: Worker, job: Glance) -> dict[str, Any]:
    plain = {column.name: getattr(job, column.name) for column in fields(job)}
    line = {**plain, "gpus": json.loads(job.gpus), "moves": stays(job.moves, time.time())}
    return dict(clean(line, Masked(worker.secrets).mask))


def job(worker: Worker, job_id: str, key: int | None = None) -> dict[str, Any] | None:
    """All that is known of a job: the newest of that id, or the one with ``key``. None: there is none."""
    with worker.overview() as overview:
        rows = [row for row in overview.job(job_id) if key in (None, row.key)]
        if not rows:
            return None
        meters = {at: job["meters"] for at, job in worker.live.as_dict()["jobs"].items()}
        known = {"key": rows[0].key, **everything(rows[0], overview, meters)}
    return dict(clean(known, Masked(worker.secrets).mask))


def masked(worker: Worker, text: bytes) -> bytes:
    """A container's words without secrets."""
    return Masked(worker.secrets).mask(text.decode("utf-8", "replace")).encode()


def clean(value: Any, mask: Callable[[str], str]) -> Any:
    """``value`` with every text masked, and without the values of a job's environment variables."""
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, dict):
        return {mask(str(name)): _item(name, item, mask) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [clean(item, mask) for item in value]
    return value


def _item(name: object, value: Any, mask: Callable[[str], str]) -> Any:
    if name == "env" and isinstance(value, dict):
        return dict.fromkeys(value, MASK)
    return clean(value, mask)
