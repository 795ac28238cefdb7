"""A job's whole life through the store, with a crash at every statement and commit of it."""

from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from persistence.rows import MoveRow, OutboxRow
from persistence.store import SqlStore
from states.job import ApiStatus, Exit, Job, JobState, Run, Trigger
from states.machine import fire
from states.ports import StoredFile
from states.table import LIVE
from tests.crash_injection import CrashPoints, SimulatedCrash
from tests.store_life import moved, spec, whole

SPEC = spec()
ENDS = (ApiStatus.FINISHED, ApiStatus.ERROR)


def opened(folder: Path) -> SqlStore:
    """The store in ``folder``, made there if need be."""
    store = SqlStore(f"sqlite:///{folder / 'jobs.db'}", "w", clock=lambda: 1.0)
    # These processes die, not the machine: waiting for the disk would only take time.
    with closing(store.engine.raw_connection()) as connection:
        connection.cursor().execute("PRAGMA synchronous = OFF")
    return store


def accept(store: SqlStore, job: Job) -> Job:
    return moved(store, job, Trigger.ACCEPTED)


def download(store: SqlStore, job: Job) -> Job:
    for path in ("a", "b"):
        store.record_file(job, whole(path))
    return moved(store, job, Trigger.DOWNLOADED, image_id="sha256:1")


def run(store: SqlStore, job: Job) -> Job:
    """The first run is lost, the second one ends well."""
    noted = store.settle(job.with_facts(run=Run(name=job.run_name, id=f"id-{job.run}")))
    if job.run == 1:
        return moved(store, noted, Trigger.LOST, detail="The engine died.")
    return moved(store, noted, Trigger.EXITED, exit=Exit(code=0), detail="")


def upload(store: SqlStore, job: Job) -> Job:
    store.record_file(job, whole("out/c", "up"))
    ended = fire(job, Trigger.UPLOADED)
    return store.commit(job, ended, Trigger.UPLOADED, [whole("log", "up")])


STEPS = {
    JobState.FETCHED: accept,
    JobState.DOWNLOADING: download,
    JobState.RUNNING: run,
    JobState.UPLOADING: upload,
}


def report(store: SqlStore, heard: list[str]) -> None:
    """The API hears what is unsent; the process may die before that is on record."""
    for update in store.unsent():
        heard.append(update.status.value)
        (store.mark_sent if update.status in ENDS else store.acknowledged)(update)


def live(store: SqlStore, heard: list[str]) -> None:
    """Take the lease on, or go on with it, to its end."""
    known = store.find(SPEC.id)
    job = known[0] if known else store.add(SPEC)
    report(store, heard)
    while job.state in LIVE:
        job = STEPS[job.state](store, store.begin(job))
        report(store, heard)
    for done in store.sweepable():
        store.mark_swept(done.key)


def ending(store: SqlStore) -> tuple[Job, list[MoveRow], list[OutboxRow], list[StoredFile]]:
    """All that is on record. How many attempts a move took is what a crash may change."""
    [job] = store.find(SPEC.id)
    history = [replace(move, attempts=0) for move in store.history(job.key)]
    files = store.files(job, "down") + store.files(job, "up")
    return job, history, store.outbox(job.key), files


def crashed(folder: Path, crash_at: int | None, heard: list[str]) -> CrashPoints:
    """Live in ``folder`` until the point ``crash_at``."""
    points = CrashPoints(crash_at)
    store = opened(folder)
    points.watch(store.engine)
    try:
        live(store, heard)
    except SimulatedCrash:
        assert points.dead
    finally:
        store.close()
    return points


def in_order(heard: list[str]) -> list[str]:
    """What was told, without what was told again right after it."""
    return [status for number, status in enumerate(heard) if number == 0 or heard[number - 1] != status]


def once_each(heard: list[str]) -> list[str]:
    return [status for number, status in enumerate(heard) if status not in heard[:number]]


@pytest.fixture
def uncrashed(tmp_path: Path) -> tuple[list[str], Any, list[str]]:
    """The points of an undisturbed life, what is on record after it, and what the API heard."""
    folder = tmp_path / "uncrashed"
    folder.mkdir()
    heard: list[str] = []
    points = crashed(folder, None, heard)
    with opened(folder) as store:
        return points.seen, ending(store), heard


@pytest.mark.row(62)
def test_a_crash_at_any_point_changes_nothing_in_the_end(
    tmp_path: Path, uncrashed: tuple[list[str], Any, list[str]]
) -> None:
    """Die before or after any statement or commit, start again: same job, history, outbox and files."""
    points, expected, told = uncrashed
    assert len(points) > 100
    for number, name in enumerate(points):
        folder = tmp_path / str(number)
        folder.mkdir()
        heard: list[str] = []
        assert name == crashed(folder, number, heard).seen[-1]
        with opened(folder) as store:
            live(store, heard)

            assert expected == ending(store), name
            assert told == once_each(heard) == in_order(heard), name
            assert store.sweepable() == [], name


def test_crashes_without_end_change_nothing_in_the_end(
    tmp_path: Path, uncrashed: tuple[list[str], Any, list[str]]
) -> None:
    """Each start dies a few points later than the one before it: the job still ends the same way."""
    _, expected, told = uncrashed
    heard: list[str] = []
    for crash_at in range(0, 400, 3):
        if not crashed(tmp_path, crash_at, heard).dead:
            break
    with opened(tmp_path) as store:
        assert expected == ending(store)
        assert told == once_each(heard) == in_order(heard)


@pytest.mark.row(2)
def test_one_answer_is_taken_whole_or_not_at_all(tmp_path: Path) -> None:
    """Die anywhere in ``add_all``: all three jobs are there with their first status, or none is."""
    number = 0
    while True:
        folder = tmp_path / str(number)
        folder.mkdir()
        points = CrashPoints(number)
        store = opened(folder)
        points.watch(store.engine)
        with suppress(SimulatedCrash):
            store.add_all([spec(1), spec(2), spec(3)])
        store.close()
        with opened(folder) as again:
            taken = points.seen[-1] == "after COMMIT"
            assert len(again.live()) == (3 if taken else 0)
            assert len(again.unsent()) == len(again.live())
        if not points.dead:
            break
        number += 1
