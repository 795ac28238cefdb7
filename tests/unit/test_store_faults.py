"""What the store says, and leaves alone, when its file or its disk is not what it should be."""

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from persistence.errors import StoreUnavailable, StoreUnusable
from persistence.store import SqlStore
from states.job import Trigger
from states.machine import fire
from tests.store_life import spec

NOBODY = 65534


def opened(path: Path, busy_seconds: float = 0.05) -> SqlStore:
    return SqlStore(f"sqlite:///{path}", "w", busy_seconds=busy_seconds)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jobs.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqlStore]:
    with opened(path) as store:
        yield store


@pytest.fixture
def used(path: Path) -> Path:
    """A database with a few jobs in it, cleanly closed."""
    with opened(path) as store:
        store.add_all([spec(number) for number in range(50)])
    return path


def everything(folder: Path) -> dict[str, bytes]:
    return {item.name: item.read_bytes() for item in folder.iterdir()}


def newer(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")


def not_sqlite(path: Path) -> None:
    path.write_bytes(b"These are not the bytes you are looking for.\n" * 300)


def foreign(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE bookmarks (url)")


def empty(path: Path) -> None:
    path.write_bytes(b"")


def truncated(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def scribbled(path: Path) -> None:
    """Every page but the first three, so that the schema can still be read."""
    whole = path.read_bytes()
    path.write_bytes(whole[: 3 * 4096] + b"\x5a" * (len(whole) - 3 * 4096))


@pytest.mark.parametrize(
    ("spoil", "finding"),
    [
        (newer, "newer JobFetcher"),
        (not_sqlite, "not a SQLite database"),
        (foreign, "not JobFetcher's"),
        (empty, "is empty"),
        (truncated, "is damaged"),
        (scribbled, "is damaged"),
    ],
)
@pytest.mark.row(49, 53)
def test_an_unusable_file_is_refused_and_left_alone(
    used: Path, spoil: Callable[[Path], None], finding: str
) -> None:
    """The message names file and finding; not one byte changes, and nothing appears beside it."""
    spoil(used)
    before = everything(used.parent)

    with pytest.raises(StoreUnusable, match=finding) as caught:
        opened(used)
    assert str(used) in str(caught.value)
    assert before == everything(used.parent)


@pytest.mark.parametrize("url", ["postgresql://host/jobs", "sqlite://", "sqlite:///:memory:", "jobs.db"])
def test_only_a_sqlite_file_will_do(url: str) -> None:
    """A URL that names no SQLite file is refused with an example of one that does."""
    with pytest.raises(StoreUnusable, match="sqlite:////folder"):
        SqlStore(url, "w")


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    """Without its folder there can be no file: said at once, with the path."""
    with pytest.raises(StoreUnavailable, match="No such file or directory"):
        opened(tmp_path / "missing" / "jobs.db")


def test_the_file_is_private(path: Path, store: SqlStore) -> None:
    """Only its owner may read the database and its log."""
    store.add(spec())

    assert {0o600} == {item.stat().st_mode & 0o777 for item in path.parent.iterdir()}


def test_a_file_opened_to_others_is_closed_again(used: Path) -> None:
    """A database copied with looser permissions gets its own back."""
    used.chmod(0o644)
    opened(used).close()

    assert used.stat().st_mode & 0o777 == 0o600


def test_a_closed_store_leaves_one_file(used: Path) -> None:
    """Closing folds the log into the database."""
    assert [used] == list(used.parent.iterdir())


def test_the_log_of_a_deleted_database_is_set_aside(path: Path, tmp_path: Path) -> None:
    """A log that outlived its database is neither replayed into the new one nor destroyed."""
    lost = tmp_path / "lost"
    lost.mkdir()
    with opened(path) as store:
        store.add(spec())
        log = shutil.copy(f"{path}-wal", lost / "jobs.db-wal")
        before = Path(log).read_bytes()
    with opened(lost / "jobs.db") as store:
        assert store.all_jobs() == []
    assert before == (lost / "jobs.db-wal.orphan").read_bytes()


@pytest.mark.row(52)
def test_every_durable_setting_is_on(store: SqlStore) -> None:
    """WAL, synchronous=FULL and foreign keys: on the connection that writes."""
    names = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
    with opened(store.path, busy_seconds=10.0) as other, other.engine.connect() as connection:
        found = [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in names]

    assert found == ["wal", 2, 1, 10000]


@pytest.mark.row(50)
def test_a_locked_database_is_tried_later(path: Path, store: SqlStore) -> None:
    """While another program holds the write lock: StoreUnavailable, nothing written, reading goes on."""
    job = store.add(spec())
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match="locked by another program"):
            store.begin(job)
        assert job == store.get(job.key)
        other.execute("ROLLBACK")

    assert store.begin(job).attempts == 1


def pragma(store: SqlStore, text: str) -> None:
    with closing(store.engine.raw_connection()) as connection:
        connection.cursor().execute(f"PRAGMA {text}")


@pytest.mark.row(9, 51)
def test_a_full_disk_is_tried_later(store: SqlStore) -> None:
    """A move that finds no room is wholly undone, and succeeds once there is room."""
    job = store.add(spec())
    pragma(store, "max_page_count = 1")
    fat = job.with_facts(detail="x" * 100_000)
    with pytest.raises(StoreUnavailable, match="disk is full"):
        store.commit(job, fire(fat, Trigger.FAILED), Trigger.FAILED)
    assert (job, 1, 1) == (store.get(job.key), len(store.history(job.key)), len(store.outbox(job.key)))

    pragma(store, "max_page_count = 1000000")
    store.commit(job, fire(fat, Trigger.FAILED), Trigger.FAILED)
    assert (len(store.history(job.key)), len(store.outbox(job.key))) == (2, 2)


@pytest.mark.row(51)
def test_a_database_turned_read_only_is_tried_later(store: SqlStore) -> None:
    """A write that SQLite refuses as read-only is StoreUnavailable, and works again afterwards."""
    job = store.add(spec())
    pragma(store, "query_only = ON")
    with pytest.raises(StoreUnavailable, match="cannot be written"):
        store.begin(job)

    pragma(store, "query_only = OFF")
    assert store.begin(job).attempts == 1


@pytest.fixture
def unwritable() -> Iterator[Path]:
    """A folder that this process may read and not write, also when the tests run as root."""
    folder = Path(tempfile.mkdtemp(prefix="jobfetcher-test-"))
    with opened(folder / "jobs.db") as store:
        store.add(spec())
    (folder / "jobs.db").chmod(0o444)
    folder.chmod(0o555)
    root = os.geteuid() == 0
    if root:
        os.seteuid(NOBODY)
    yield folder
    if root:
        os.seteuid(0)
    folder.chmod(0o755)
    shutil.rmtree(folder)


def test_an_unwritable_folder_is_tried_later(unwritable: Path) -> None:
    """A worker that may not write its state says so at its start, and leaves the folder as it is."""
    before = everything(unwritable)
    with pytest.raises(StoreUnavailable, match="writ"):
        opened(unwritable / "jobs.db")

    assert before == everything(unwritable)


@pytest.mark.row(48)
def test_a_deleted_file_is_noticed(path: Path, store: SqlStore) -> None:
    """No write goes to a file that no longer has a name."""
    job = store.add(spec())
    store.check_file()
    path.unlink()

    with pytest.raises(StoreUnusable, match="deleted or replaced"):
        store.check_file()
    with pytest.raises(StoreUnusable, match="deleted or replaced"):
        store.begin(job)


@pytest.mark.row(48)
def test_a_replaced_file_is_noticed(path: Path, store: SqlStore) -> None:
    """Another file under the same name is not the one that was opened."""
    copy = path.with_name("copy.db")
    shutil.copy(path, copy)
    copy.replace(path)

    with pytest.raises(StoreUnusable, match="deleted or replaced"):
        store.add(spec())


def test_text_that_is_no_unicode_does_not_stop_a_job(store: SqlStore) -> None:
    """A file name of undecodable bytes in a message is told as far as it can be."""
    job = store.add(spec())
    failed = job.with_facts(detail="Cannot read 'caf\udce9'.\0")
    store.commit(job, fire(failed, Trigger.FAILED), Trigger.FAILED)

    expected = "Cannot read 'caf?'.\0"
    assert expected == store.outbox(job.key)[-1].detail
    assert expected == store.history(job.key)[-1].detail
    assert expected == store.get(job.key).facts.detail
