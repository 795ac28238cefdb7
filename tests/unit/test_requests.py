"""What an operator asks: on record at once, answered once, and never in the worker's way."""

import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from persistence.errors import StoreUnavailable, StoreUnusable
from persistence.requests import DRAINING, OPEN, Answer, Desk, Effect, Operator, Request
from persistence.store import SqlStore
from tests.store_life import spec, whole

OLD = Path(__file__).parents[1] / "data" / "jobfetcher-0001.sql"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlStore]:
    with SqlStore(f"sqlite:///{tmp_path / 'jobs.db'}", "w", clock=lambda: 5.0) as store:
        yield store


@pytest.fixture
def desk(store: SqlStore) -> Iterator[Desk]:
    with Desk(store.path, "w", clock=lambda: 6.0) as desk:
        yield desk


@pytest.fixture
def operator(store: SqlStore) -> Iterator[Operator]:
    with Operator(store.path, clock=lambda: 5.0) as operator:
        yield operator


def test_what_is_asked_waits_for_its_worker(store: SqlStore, desk: Desk, operator: Operator) -> None:
    """Requests are listed oldest first, each with its job and its arguments; another worker's are not."""
    key = store.add(spec()).key
    first = operator.ask("w", "cancel", key, reason="Später.")
    operator.ask("other", "drain")
    second = operator.ask("w", "prune", dry_run=True, history=None)

    assert desk.waiting() == [
        Request(first, "cancel", key, {"reason": "Später."}),
        Request(second, "prune", None, {"dry_run": True, "history": None}),
    ]
    assert operator.answer_to(first) is None


def test_an_answer_is_given_once(desk: Desk, operator: Operator) -> None:
    """The operator reads it with its figures; a second answer does not replace it."""
    operator.ask("w", "prune")
    [request] = desk.waiting()

    desk.answer(request, Answer("Removed 2 folders.", found={"folders": 2}))
    desk.answer(request, Answer("No.", refused=True))

    assert operator.answer_to(request.id) == Answer("Removed 2 folders.", False, {"folders": 2})
    assert desk.waiting() == []


def test_flags_change_with_the_answer(store: SqlStore, desk: Desk, operator: Operator) -> None:
    """A flag is up after the answer that raised it, also for the next life, until one lowers it."""
    operator.ask("w", "drain")
    operator.ask("w", "resume")
    drain, resume = desk.waiting()

    desk.answer(drain, Answer("Draining."), Effect(raises=DRAINING))
    with Desk(store.path, "w") as next_life, Desk(store.path, "other") as other:
        assert (True, False) == (next_life.flag(DRAINING), other.flag(DRAINING))
    desk.answer(resume, Answer("Fetching."), Effect(lowers=DRAINING))

    assert not desk.flag(DRAINING)


def test_a_failing_answer_changes_nothing(store: SqlStore, desk: Desk, operator: Operator) -> None:
    """Effect and answer are one transaction: neither is there without the other."""
    operator.ask("w", "drain")
    [request] = desk.waiting()
    with closing(sqlite3.connect(store.path)) as connection, connection:
        connection.execute(
            "CREATE TRIGGER broken BEFORE UPDATE ON requests BEGIN SELECT RAISE(ABORT, 'no'); END"
        )

    with pytest.raises(sqlite3.IntegrityError):
        desk.answer(request, Answer("Draining."), Effect(raises=DRAINING))

    assert not desk.flag(DRAINING)
    assert desk.waiting() == [request]


def test_uploads_are_forgotten_and_inputs_are_not(store: SqlStore, desk: Desk, operator: Operator) -> None:
    """Only what is on record as uploaded of that one job goes."""
    job, other = store.add_all([spec(1), spec(2)])
    for one in (job, other):
        store.record_file(one, whole("in", "down"))
        store.record_file(one, whole("out", "up"))
    operator.ask("w", "retry-upload", job.key, all=True)
    [request] = desk.waiting()

    desk.answer(request, Answer("Again."), Effect(forgets_uploads_of=job.key))

    assert (store.files(job, "up"), [file.path for file in store.files(job, "down")]) == ([], ["in"])
    assert [file.path for file in store.files(other, "up")] == ["out"]


def test_looking_uses_its_index(store: SqlStore) -> None:
    """A look each second costs nothing for the thousands of requests that are answered."""
    with closing(sqlite3.connect(store.path)) as connection:
        plan = connection.execute(f"EXPLAIN QUERY PLAN {OPEN}", ("w",)).fetchall()

    assert "requests_open" in str(plan)


def test_arguments_that_are_no_object_are_none(store: SqlStore, desk: Desk) -> None:
    """Whoever writes the table by hand cannot stop the worker."""
    with closing(sqlite3.connect(store.path)) as connection, connection:
        for said in ("[]", "no json", "3"):
            connection.execute(
                "INSERT INTO requests (worker, at, kind, arguments) VALUES ('w', 1, 'prune', ?)", (said,)
            )

    assert [request.arguments for request in desk.waiting()] == [{}, {}, {}]


def test_a_writer_in_the_way_is_waited_for(store: SqlStore) -> None:
    """A request is written as soon as somebody else's transaction ends; or it is said what is in the way."""
    with closing(sqlite3.connect(store.path, isolation_level=None, check_same_thread=False)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        with Operator(store.path, busy_seconds=0) as hasty, pytest.raises(StoreUnavailable, match="locked"):
            hasty.ask("w", "drain")
        timer = threading.Timer(0.2, lambda: writer.execute("COMMIT"))
        timer.start()
        with Operator(store.path, busy_seconds=30) as patient:
            number = patient.ask("w", "drain")
        timer.join()

    with Desk(store.path, "w") as desk:
        assert [request.id for request in desk.waiting()] == [number]


def test_an_older_database_is_not_written(tmp_path: Path) -> None:
    """A request needs its table: the sentence says how to get it."""
    with closing(sqlite3.connect(tmp_path / "jobs.db")) as connection:
        connection.executescript(OLD.read_text())

    with pytest.raises(StoreUnusable, match="start the worker once"):
        Operator(tmp_path / "jobs.db")


def test_no_database_is_made(tmp_path: Path) -> None:
    """Asking where there is none leaves nothing behind."""
    with pytest.raises(StoreUnavailable, match="cannot be opened"):
        Operator(tmp_path / "jobs.db")

    assert list(tmp_path.iterdir()) == []


def test_a_closed_desk_says_so(desk: Desk) -> None:
    """A thread that outlives the worker's end meets an error that it expects."""
    desk.close()

    with pytest.raises(StoreUnavailable, match="is closed"):
        desk.waiting()


ASK_AS_ROOT = """
import sys
from pathlib import Path
from persistence.requests import Operator
with Operator(Path(sys.argv[1])) as operator:
    operator.ask("w", "drain")
    for beside in Path(sys.argv[1]).parent.glob("jobs.db*"):
        print(beside.name, beside.stat().st_uid, flush=True)
    if "die" in sys.argv:
        import os, signal
        os.kill(os.getpid(), signal.SIGKILL)
"""
WORK_AS_OWNER = """
import os, sys
from persistence.requests import Answer, Desk
from pathlib import Path
os.setgid(int(sys.argv[2]))
os.setuid(int(sys.argv[2]))
with Desk(Path(sys.argv[1]), "w") as desk:
    for request in desk.waiting():
        desk.answer(request, Answer("Done."))
        print(request.kind)
"""
NOBODY = 65534


@pytest.mark.root
@pytest.mark.row(73)
@pytest.mark.parametrize("end", ["lives", "die"])
def test_root_leaves_nothing_that_the_worker_cannot_open(tmp_path: Path, end: str) -> None:
    """What SQLite makes beside the database belongs to the database's owner, also if root's command dies."""
    folder = tmp_path / "base"
    folder.mkdir()
    with SqlStore(f"sqlite:///{folder / 'jobs.db'}", "w"):
        pass
    for place in (tmp_path, *tmp_path.parents):
        if place.stat().st_mode & 0o005 != 0o005:
            place.chmod(0o755)
    for place in (folder, folder / "jobs.db"):
        os.chown(place, NOBODY, NOBODY)
    asked = subprocess.run(
        [sys.executable, "-c", ASK_AS_ROOT, str(folder / "jobs.db"), end],
        capture_output=True,
        text=True,
        check=False,
    )
    owners = dict(line.split() for line in asked.stdout.splitlines())

    assert {"jobs.db", "jobs.db-wal", "jobs.db-shm"} == set(owners)
    assert {str(NOBODY)} == set(owners.values())
    worked = subprocess.run(
        [sys.executable, "-c", WORK_AS_OWNER, str(folder / "jobs.db"), str(NOBODY)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (worked.stdout, worked.stderr) == ("drain\n", "")
