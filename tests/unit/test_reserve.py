"""Room in the database's log for the time when the disk is full."""

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, nullcontext
from pathlib import Path

import pytest

from persistence.errors import StoreFull
from persistence.explain import explained
from persistence.reserve import SIZE, Reserve, allocate
from persistence.store import SqlStore
from states.job import Trigger
from states.machine import fire
from tests.store_life import spec

SMALL = 64 * 1024


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jobs.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqlStore]:
    with SqlStore(f"sqlite:///{path}", "w") as store:
        yield store


def log_of(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


def on_disk(path: Path) -> tuple[int, int]:
    """Bytes of the log, as they are counted and as they are allocated."""
    found = log_of(path).stat()
    return found.st_size, found.st_blocks * 512


def small(path: Path, free: int) -> Reserve:
    return Reserve(path, nullcontext, SMALL, lambda _: free)


@pytest.mark.row(74)
def test_moves_go_where_room_was_set_aside(path: Path, store: SqlStore) -> None:
    """A thousand pages that the database file cannot take still fit: the log takes no more of the disk."""
    assert store.reserve.make()
    size, allocated = on_disk(path)
    assert (SIZE, True) == (size, allocated >= SIZE)

    with closing(sqlite3.connect(path)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM jobs").fetchall()  # from now on the log cannot start over
        for number in range(100):
            job = store.add(spec(number))
            store.commit(job, fire(job, Trigger.FAILED), Trigger.FAILED)
    assert (size, allocated) == on_disk(path)


def test_what_was_committed_is_found_in_a_log_with_a_reserve(
    path: Path, store: SqlStore, tmp_path: Path
) -> None:
    """A copy of the files as a SIGKILL leaves them: all moves before and after the reserve are there."""
    first = store.add(spec(1))
    store.reserve.make()
    second = store.add(spec(2))
    killed = tmp_path / "killed"
    killed.mkdir()
    for file in (path, log_of(path)):
        (killed / file.name).write_bytes(file.read_bytes())

    with SqlStore(f"sqlite:///{killed / path.name}", "w") as again:
        assert [first, second] == again.all_jobs()


def test_it_is_made_once_and_only_where_there_is_room(path: Path) -> None:
    """Twice as much must be free: otherwise jobs would have nothing left."""
    log_of(path).touch()

    assert not small(path, free=2 * SMALL - 1).make()
    assert 0 == on_disk(path)[0]
    assert small(path, free=2 * SMALL).make()
    assert SMALL == on_disk(path)[0]
    assert small(path, free=0).make()


@pytest.mark.parametrize("refusal", [errno.EOPNOTSUPP, errno.EINVAL])
def test_a_file_system_that_sets_nothing_aside_gets_zeros(path: Path, refusal: int) -> None:
    """What was in the file stays."""

    def refusing(*_: int) -> None:
        raise OSError(refusal, os.strerror(refusal))

    path.write_bytes(b"frames")
    with path.open("r+b") as file:
        allocate(file.fileno(), SMALL, refusing)

    assert b"frames" + bytes(SMALL - 6) == path.read_bytes()


def test_room_that_is_gone_by_now_is_told(path: Path) -> None:
    """Only a refusal to set anything aside is made up for with zeros: not a disk that has filled up."""

    def filled(*_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path.touch()
    with path.open("r+b") as file, pytest.raises(OSError, match="No space left"):
        allocate(file.fileno(), SMALL, filled)
    assert b"" == path.read_bytes()


@pytest.mark.parametrize(("free", "stays"), [(0, True), (1 << 40, False)])
def test_a_reserve_outlives_a_stop_on_a_full_disk(path: Path, free: int, stays: bool) -> None:
    """The container goes on filling the disk, and the next start finds the room; with enough the log goes."""
    with SqlStore(f"sqlite:///{path}", "w") as store:
        job = store.add(spec())
        store.reserve.make()
        store.reserve = small(path, free)

    assert stays == log_of(path).exists()
    with SqlStore(f"sqlite:///{path}", "w") as store:
        assert [job] == store.all_jobs()
    assert not log_of(path).exists()


def test_a_full_disk_is_remembered_until_a_write_succeeds(store: SqlStore) -> None:
    """For those who ask how the worker is."""
    job = store.add(spec())
    assert "" == store.reserve.full
    fat = job.with_facts(detail="x" * 100_000)
    with closing(store.engine.raw_connection()) as connection:
        connection.cursor().execute("PRAGMA max_page_count = 1")
    with pytest.raises(StoreFull) as raised:
        store.commit(job, fire(fat, Trigger.FAILED), Trigger.FAILED)
    assert str(raised.value) == store.reserve.full

    with closing(store.engine.raw_connection()) as connection:
        connection.cursor().execute("PRAGMA max_page_count = 1000000")
    store.commit(job, fire(fat, Trigger.FAILED), Trigger.FAILED)
    assert "" == store.reserve.full


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_the_systems_own_words_for_a_full_disk(path: Path, number: int) -> None:
    """They come to the same as SQLite's."""
    meant = explained(path, OSError(number, os.strerror(number)))

    assert (StoreFull, True) == (type(meant), "because its disk is full" in str(meant))
