"""A worker's state folder as it is after thousands of jobs, made without running them."""

import sqlite3
from contextlib import closing
from pathlib import Path

from persistence.path import url_of
from persistence.store import SqlStore
from states.job import ApiStatus, JobState, Trigger
from states.spec import JobSpec

WORKER = "bench"


def spec(job_id: str, cmd: str = "true") -> JobSpec:
    """A job that needs nothing."""
    raw = {
        "app": {"cmd": [cmd], "env": None},
        "handler": {"image_url": "none:latest"},
        "meta": {"job_id": int(job_id), "date_created": "2020-01-01T00:00:00"},
        "hardware": {},
    }
    return JobSpec.parse(job_id, raw)


def make(base: Path, live: int, ended: int) -> Path:
    """Fill ``base`` with a database of ``live`` jobs just fetched and ``ended`` jobs that left nothing."""
    base.mkdir(parents=True)
    (base / "worker-id").write_text(f"{WORKER}\n")
    path = base / "jobfetcher.db"
    with SqlStore(url_of(path), WORKER) as store:
        for number in range(live):
            store.add(spec(str(number + 1)))
        if ended:
            _end_one(store, "900000")
        while unsent := store.unsent():
            for update in unsent:
                store.mark_sent(update)
    if ended > 1:
        _multiply(path, ended - 1)
    return base


def _end_one(store: SqlStore, job_id: str) -> None:
    job = store.add(spec(job_id))
    ended = job.moved_to(JobState.FINISHED, ApiStatus.FINISHED)
    store.commit(job, ended, Trigger.UPLOADED)
    store.mark_swept(job.key)


def _multiply(path: Path, copies: int) -> None:
    """Copy the last job with its history and its outbox."""
    with closing(sqlite3.connect(path)) as connection, connection:
        (last,) = connection.execute("SELECT max(key) FROM jobs").fetchone()
        numbers = f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {copies}) "
        changed = {"key": f"{last} + i", "lease": "lease || i", "api_id": "api_id + i"}
        _copy(connection, numbers, "jobs", f"key = {last}", changed)
        for table in ("moves", "outbox"):
            _copy(connection, numbers, table, f"job_key = {last}", {"id": "NULL", "job_key": f"{last} + i"})


def _copy(
    connection: sqlite3.Connection, numbers: str, table: str, where: str, changed: dict[str, str]
) -> None:
    names = [str(column[1]) for column in connection.execute(f"PRAGMA table_info({table})")]
    values = ", ".join(changed.get(name, name) for name in names)
    connection.execute(
        f"{numbers} INSERT INTO {table} ({', '.join(names)}) SELECT {values} FROM {table}, n WHERE {where}"
    )
