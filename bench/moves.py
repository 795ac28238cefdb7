"""Durable moves a second: the real store, without the program around it, beside plain ``sqlite3``."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

from bench import ledger
from bench.measure import Goal, Ground, Row, interleaved, row, timed
from persistence.path import url_of
from persistence.store import SqlStore
from states.job import ApiStatus, Job, JobState, Trigger

_ROUND = (
    (JobState.DOWNLOADING, ApiStatus.PREPROCESSING),
    (JobState.RUNNING, ApiStatus.RUNNING),
    (JobState.UPLOADING, ApiStatus.POSTPROCESSING),
)
_UPDATE = (
    "UPDATE jobs SET state=?, version=version+1, attempts=?, run=?, told=?, gone=(gone | ?), facts=?, "
    "updated_at=? WHERE key=? AND version=? "
    "RETURNING state, version, attempts, run, told, gone, facts, updated_at"
)
_ADD_MOVE = (
    "INSERT INTO moves (job_key, at, source, target, because, run, attempts, detail) VALUES (?,?,?,?,?,?,?,?)"
)
_QUEUE = "INSERT INTO outbox (job_key, status, detail, queued_at, sent_at) VALUES (?,?,?,?,NULL)"


def moves(ground: Ground) -> Iterator[Row]:
    """One and eight jobs that move at the same time."""
    for active in (1, 8):
        folder = ground.folder / str(active)
        ours, floor = interleaved(
            ground.scale.rounds,
            partial(_ours, folder / "ours", active, ground.scale.moves),
            partial(_floor, folder / "floor", ground.scale.moves),
        )
        name = f"durable moves through the store, {active} active; sqlite3, one writer"
        yield row(name, "moves/s", ours, floor, Goal(0.5, least=True))


def _fresh(base: Path, jobs: int) -> Path:
    number = sum(1 for _ in base.parent.glob(f"{base.name}-*"))
    return ledger.make(base.with_name(f"{base.name}-{number}"), jobs, 0) / "jobfetcher.db"


def _ours(base: Path, active: int, count: int) -> float:
    with SqlStore(url_of(_fresh(base, active)), ledger.WORKER) as store:
        each = count // active
        threads = [threading.Thread(target=_move, args=(store, job, each)) for job in store.live()]

        def work() -> None:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

        return each * active / timed(work)


def _move(store: SqlStore, job: Job, count: int) -> None:
    for number in range(count):
        state, told = _ROUND[number % len(_ROUND)]
        job = store.commit(job, job.moved_to(state, told), Trigger.ACCEPTED)


def _floor(base: Path, count: int) -> float:
    path = _fresh(base, 1)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        (key, version, facts) = connection.execute("SELECT key, version, facts FROM jobs").fetchone()

        def work() -> None:
            for number in range(count):
                state, told = _ROUND[number % len(_ROUND)]
                _floor_move(connection, (key, version + number), state, told, facts)

        return count / timed(work)


def _floor_move(
    connection: sqlite3.Connection, guard: tuple[int, int], state: JobState, told: ApiStatus, facts: str
) -> None:
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(_UPDATE, (state.value, 0, 1, told.value, 0, facts, 1.0, *guard)).fetchone()
    connection.execute(_ADD_MOVE, (guard[0], 1.0, "fetched", state.value, "accepted", 1, 0, ""))
    connection.execute(_QUEUE, (guard[0], told.value, "", 1.0))
    connection.execute("COMMIT")
