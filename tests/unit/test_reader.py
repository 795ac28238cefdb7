"""What a command that only looks sees, and what it leaves behind: nothing."""

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import fields
from pathlib import Path

import pytest
from sqlalchemy import Table

from persistence import schema
from persistence.errors import StoreMissing, StoreUnavailable, StoreUnusable
from persistence.path import path_of, url_of
from persistence.reader import open_reader
from persistence.requests import DRAINING, Answer, Desk, Effect, Operator
from persistence.rows import FileRow, JobRow, MoveRow, OutboxRow
from persistence.store import SqlStore
from states.job import Job, Trigger
from states.ports import StoredFile
from tests.store_life import moved, spec

OLD = Path(__file__).parents[1] / "data" / "jobfetcher-0001.sql"
FILE = StoredFile(direction="down", kind="input", path="a", size=3, sha256="00", seconds=1.5)


def filled(store: SqlStore) -> tuple[Job, Job]:
    """One job that failed, one that downloads."""
    failed, live = store.add_all([spec(1), spec(2)])
    failed = moved(store, failed, Trigger.FAILED, detail="No.")
    store.mark_sent(store.unsent()[0])
    store.record_file(live, FILE)
    return failed, moved(store, live, Trigger.ACCEPTED)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlStore]:
    with SqlStore(f"sqlite:///{tmp_path / 'jobs.db'}", "w", clock=lambda: 5.0) as store:
        yield store


def test_it_reads_what_the_store_wrote(store: SqlStore) -> None:
    """Jobs, moves, statuses, files and counts, while the worker has the file open."""
    failed, live = filled(store)
    with open_reader(store.path) as reader:
        assert [row.api_id for row in reader.jobs()] == ["2", "1"]
        assert [row.api_id for row in reader.jobs(states=["error", "finished"])] == ["1"]
        assert [row.api_id for row in reader.jobs(limit=1)] == ["2"]
        assert reader.jobs(states=[]) == []
        assert store.history(failed.key) == reader.moves(failed.key)
        assert store.outbox(failed.key) == reader.outbox(failed.key)
        assert [row.status for row in reader.outbox(failed.key, only_unsent=True)] == ["error"]
        assert [FileRow(live.key, "down", "input", "a", 3, "00", 5.0, 1.5)] == reader.files(live.key)
        assert reader.counts() == {"downloading": 1, "error": 1}


def test_a_request_written_while_no_worker_runs_is_noticed(store: SqlStore) -> None:
    """A reader that found the file at rest does not go on with what it remembers of it."""
    filled(store)
    store.close()
    with open_reader(store.path) as reader:
        assert reader.counts() == {"downloading": 1, "error": 1}
        with Desk(store.path, "w") as desk, Operator(store.path) as operator:
            operator.ask("w", "drain")
            [request] = desk.waiting()
            desk.answer(request, Answer("Draining."), Effect(raises=DRAINING))

        assert reader.flags() == {DRAINING}
        assert reader.counts() == {"downloading": 1, "error": 1}


@pytest.mark.parametrize("wrong", ["{not json", "[1]", "7"])
@pytest.mark.parametrize("column", ["spec", "facts"])
def test_what_somebody_broke_by_hand_is_said(store: SqlStore, column: str, wrong: str) -> None:
    """A job that cannot be read ends a command with a sentence."""
    filled(store)
    with closing(sqlite3.connect(store.path)) as connection, connection:
        connection.execute(f"UPDATE jobs SET {column} = ?", (wrong,))
    with open_reader(store.path) as reader, pytest.raises(StoreUnusable, match="no JSON object"):
        reader.jobs()


@pytest.mark.parametrize("column", ["spec", "facts"])
def test_what_somebody_broke_by_hand_is_said_of_jobs_at_work(store: SqlStore, column: str) -> None:
    """Also where the database itself reads the specification."""
    filled(store)
    with closing(sqlite3.connect(store.path)) as connection, connection:
        connection.execute(f"UPDATE jobs SET {column} = 'x'")
    with open_reader(store.path) as reader, pytest.raises(StoreUnusable, match="no JSON object"):
        reader.at_work()


def test_a_job_is_all_its_leases(store: SqlStore) -> None:
    """Asked by the API's id: newest lease first, specification and facts parsed."""
    failed, _ = filled(store)
    store.mark_gone(failed.key)
    again = store.add(spec(1))
    with open_reader(store.path) as reader:
        new, old = reader.job("1")

    assert ((again.key, 2, False), (failed.key, 1, True)) == (
        (new.key, new.delivery, new.gone),
        (old.key, old.delivery, old.gone),
    )
    assert (old.spec["handler"]["image_url"], old.facts["detail"]) == ("busybox", "No.")


def test_it_sees_what_is_written_later(store: SqlStore) -> None:
    """Each call reads anew."""
    with open_reader(store.path) as reader:
        before = reader.counts()
        filled(store)

        assert (before, reader.counts()) == ({}, {"downloading": 1, "error": 1})


def test_it_sees_a_worker_that_starts_later(store: SqlStore) -> None:
    """Opened while no worker ran, it notices one that begins to write."""
    store.close()
    with open_reader(store.path) as reader:
        assert reader.counts() == {}
        with SqlStore(f"sqlite:///{store.path}", "w") as again:
            filled(again)
            assert reader.counts() == {"downloading": 1, "error": 1}


def test_it_leaves_nothing_behind(store: SqlStore) -> None:
    """Looking at a worker's file after its end changes no byte and makes no file."""
    filled(store)
    store.close()
    before = store.path.read_bytes()
    with open_reader(store.path) as reader:
        assert len(reader.jobs()) == 2

    assert [store.path] == list(store.path.parent.iterdir())
    assert before == store.path.read_bytes()


def killed(store: SqlStore, folder: Path) -> Path:
    """What a killed worker leaves: the file, and the log with the latest moves."""
    for suffix in ("", "-wal"):
        shutil.copy(f"{store.path}{suffix}", folder / f"left.db{suffix}")
    return folder / "left.db"


def test_it_reads_the_log_of_a_killed_worker(store: SqlStore, tmp_path: Path) -> None:
    """Moves that are only in the log yet are seen."""
    filled(store)
    with open_reader(killed(store, tmp_path)) as reader:
        assert reader.counts() == {"downloading": 1, "error": 1}


@pytest.fixture
def unwritable(store: SqlStore) -> Iterator[Path]:
    """A folder this process may read and not write (also as root), with a killed worker's files in it."""
    filled(store)
    folder = Path(tempfile.mkdtemp(prefix="jobfetcher-test-"))
    killed(store, folder)
    store.close()
    shutil.copy(store.path, folder / "closed.db")
    for file in folder.iterdir():
        file.chmod(0o444)
    (folder / "secret.db").touch(mode=0)
    folder.chmod(0o555)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    yield folder
    if root:
        os.seteuid(0)
    folder.chmod(0o755)
    shutil.rmtree(folder)


@pytest.mark.parametrize("name", ["left.db", "closed.db"])
def test_it_reads_where_it_may_not_write(unwritable: Path, name: str) -> None:
    """In a read-only folder nothing is missing either, log or no log."""
    before = sorted(unwritable.iterdir())
    with open_reader(unwritable / name) as reader:
        assert reader.counts() == {"downloading": 1, "error": 1}

    assert before == sorted(unwritable.iterdir())


def test_a_file_that_may_not_be_read_is_named(unwritable: Path) -> None:
    """Without permission to read: StoreUnavailable, with the path."""
    with pytest.raises(StoreUnavailable, match=r"secret\.db"):
        open_reader(unwritable / "secret.db")


def test_a_missing_file_is_not_made(tmp_path: Path) -> None:
    """No database: a sentence that says so, and still none afterwards."""
    with pytest.raises(StoreMissing, match="start the worker once"):
        open_reader(tmp_path / "none.db")

    assert list(tmp_path.iterdir()) == []


def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    """A text file is named as what it is not."""
    (tmp_path / "notes.txt").write_text("Buy milk.\n" * 500)
    with pytest.raises(StoreUnusable, match="not a SQLite database"):
        open_reader(tmp_path / "notes.txt")


def test_an_older_schema_is_refused(tmp_path: Path) -> None:
    """The worker, not a command that looks, brings the file up to date."""
    with closing(sqlite3.connect(tmp_path / "old.db")) as connection:
        connection.executescript(OLD.read_text())
    with pytest.raises(StoreUnusable, match="start the worker once"):
        open_reader(tmp_path / "old.db")


def test_a_newer_schema_is_refused(store: SqlStore) -> None:
    """What a later release wrote is not guessed at."""
    store.close()
    with closing(sqlite3.connect(store.path)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StoreUnusable, match="newer JobFetcher"):
        open_reader(store.path)


@pytest.mark.parametrize(
    ("row", "table"),
    [
        (JobRow, schema.jobs),
        (MoveRow, schema.moves),
        (OutboxRow, schema.outbox),
        (FileRow, schema.files),
    ],
    ids=["jobs", "moves", "outbox", "files"],
)
def test_its_rows_are_the_tables(row: type, table: Table) -> None:
    """The reader's hand-written columns are the schema's, in its order."""
    assert [column.name for column in table.columns] == [field.name for field in fields(row)]


def test_it_is_light() -> None:
    """Importing the reader loads neither SQLAlchemy nor pydantic nor the state machine."""
    program = (
        "import sys, persistence.reader; "
        "print(sorted({'sqlalchemy', 'alembic', 'pydantic', 'states', 'transitions'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)

    assert found.stdout == "[]\n"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("sqlite:////var/lib/jobs.db", Path("/var/lib/jobs.db")),
        ("sqlite:///jobs.db", Path("jobs.db")),
        ("sqlite:////a b/ü%20.db?timeout=5", Path("/a b/ü%20.db")),
        ("sqlite://", None),
        ("sqlite:///:memory:", None),
        ("postgresql://host/jobs", None),
    ],
    ids=["absolute", "relative", "odd characters", "nothing", "memory", "another database"],
)
def test_a_url_means_a_file(url: str, expected: Path | None) -> None:
    """Only a SQLite URL with a path means a file."""
    assert expected == path_of(url)


def test_a_file_has_a_url() -> None:
    """``url_of`` and ``path_of`` are each other's inverse."""
    assert Path("/a b/jobs.db") == path_of(url_of(Path("/a b/jobs.db")))
