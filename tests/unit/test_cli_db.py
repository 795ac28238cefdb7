"""``db``: a sound database is told from a damaged one, copied while it is written, brought up to date."""

import json
import shutil
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from jobfetcher.lock import state_lock
from persistence import upkeep
from persistence.errors import StoreMissing, StoreUnusable
from persistence.reader import open_reader
from persistence.store import SqlStore
from persistence.version import HEAD
from tests.store_life import spec

OLD = Path(__file__).parents[1] / "data" / "jobfetcher-0001.sql"


def db(folder: Path, *arguments: str) -> tuple[int, str]:
    """The exit code, and what was said."""
    command = [sys.executable, "-m", "jobfetcher", "db", *arguments, "--path-base", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout or done.stderr


def filled(folder: Path, jobs: int = 3) -> SqlStore:
    store = SqlStore(f"sqlite:///{folder / 'jobfetcher.db'}", "w")
    store.add_all([spec(number) for number in range(jobs)])
    return store


def old(folder: Path) -> Path:
    """A database as the first release left it."""
    with closing(sqlite3.connect(folder / "jobfetcher.db")) as connection:
        connection.executescript(OLD.read_text())
    return folder / "jobfetcher.db"


def test_a_sound_database_is_said_to_be_one(tmp_path: Path) -> None:
    """Also while a worker has it open; as a sentence and as JSON."""
    with filled(tmp_path):
        assert db(tmp_path, "check")[1].startswith(f"{tmp_path / 'jobfetcher.db'} is sound: 3 jobs, ")
        said: dict[str, Any] = json.loads(db(tmp_path, "check", "--json")[1])

    assert (said["revision"], said["jobs"]) == (HEAD, 3)


def damage(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(4096 * 3)
        file.write(b"\xff" * 4096 * 4)


def lose_an_index_entry(path: Path) -> None:
    """The table and its index tell different stories, and every page for itself is fine."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute(
            "UPDATE sqlite_master SET sql = replace(sql, 'api_id', 'lease') WHERE name = 'ix_jobs_api_id'"
        )


def orphan_a_row(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM jobs WHERE key = 1")


def break_a_job(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE jobs SET facts = '{' WHERE key = 1")


def make_a_job_a_list(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE jobs SET spec = '[1]' WHERE key = 1")


@pytest.mark.parametrize("spoil", [damage, lose_an_index_entry, orphan_a_row, break_a_job, make_a_job_a_list])
def test_a_damaged_database_is_found_out(tmp_path: Path, spoil: Any) -> None:
    """A page, an index, a row that belongs to nothing or says nothing; the sentence says what to do."""
    filled(tmp_path, 200).close()
    spoil(tmp_path / "jobfetcher.db")

    with pytest.raises(StoreUnusable, match="move it away"):
        upkeep.check(tmp_path / "jobfetcher.db", thorough=True)


def test_a_damaged_database_ends_the_command_with_1(tmp_path: Path) -> None:
    """And one that is not there as well."""
    assert db(tmp_path, "check")[0] == 1
    filled(tmp_path, 200).close()
    damage(tmp_path / "jobfetcher.db")

    code, said = db(tmp_path, "check")

    assert (code, "is damaged; move it away" in said) == (1, True)


def test_a_copy_made_while_a_worker_writes_is_whole(tmp_path: Path) -> None:
    """What was committed before is in it, and it is one file that only its owner may read."""
    target = tmp_path / "copies" / "copy.db"
    target.parent.mkdir()
    done = threading.Event()
    with filled(tmp_path) as store:

        def write() -> None:
            number = 1000
            while not done.is_set():
                number += 1
                store.add(spec(number))

        writer = threading.Thread(target=write)
        writer.start()
        try:
            health = upkeep.save(tmp_path / "jobfetcher.db", target)
        finally:
            done.set()
            writer.join()

    assert list(target.parent.iterdir()) == [target]
    assert target.stat().st_mode & 0o777 == 0o600
    with open_reader(target) as reader:
        assert len(reader.jobs()) == health.jobs >= 3


def test_a_copy_of_a_database_at_rest_changes_nothing(tmp_path: Path) -> None:
    """The command says what it made; the original keeps every byte and gets no file beside it."""
    folder = tmp_path / "base"
    folder.mkdir()
    filled(folder).close()
    before = (folder / "jobfetcher.db").read_bytes()

    code, said = db(folder, "backup", str(tmp_path / "copy.db"))

    assert (code, said.startswith(f"{tmp_path / 'copy.db'} is a sound copy: 3 jobs, ")) == (0, True)
    assert before == (folder / "jobfetcher.db").read_bytes()
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["base", "copy.db", "jobfetcher.db"]


def test_a_copy_never_overwrites(tmp_path: Path) -> None:
    """A file of that name stays as it is."""
    filled(tmp_path).close()
    (tmp_path / "mine.txt").write_text("mine")

    code, said = db(tmp_path, "backup", str(tmp_path / "mine.txt"))

    assert (code, "was left as it is; choose another name" in said) == (1, True)
    assert (tmp_path / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize("spoil", [damage, orphan_a_row])
def test_a_copy_of_a_damaged_database_is_not_kept(tmp_path: Path, spoil: Any) -> None:
    """Nobody should rely on it: nothing is left under its name, nor half of it."""
    filled(tmp_path, 200).close()
    spoil(tmp_path / "jobfetcher.db")

    with pytest.raises(StoreUnusable):
        upkeep.save(tmp_path / "jobfetcher.db", tmp_path / "copy.db")

    assert [path.name for path in tmp_path.iterdir()] == ["jobfetcher.db"]


def test_a_copy_of_nothing_is_refused(tmp_path: Path) -> None:
    """And none is made."""
    with pytest.raises(StoreMissing):
        upkeep.save(tmp_path / "none.db", tmp_path / "copy.db")

    assert list(tmp_path.iterdir()) == []


def test_a_copy_into_a_folder_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    """No traceback."""
    filled(tmp_path).close()

    code, said = db(tmp_path, "backup", str(tmp_path / "none" / "copy.db"))

    assert (code, "copy.db cannot be used: No such file or directory." in said) == (1, True)


def test_an_older_database_is_brought_up_to_date(tmp_path: Path) -> None:
    """After a copy of it; before, ``check`` says that it is older. Twice does no harm."""
    path = old(tmp_path)
    before = db(tmp_path, "check")[1]

    codes = [db(tmp_path, "upgrade")[0], db(tmp_path, "upgrade")[0]]

    assert ("schema 0001; the next start of the worker upgrades it" in before, codes) == (True, [0, 0])
    assert upkeep.check(path).revision == HEAD
    assert upkeep.check(tmp_path / "jobfetcher.db.backup-0001").revision == "0001"


def test_a_database_that_a_worker_uses_is_not_upgraded(tmp_path: Path) -> None:
    """While the lock is held: exit code 3, the worker's process is named, the file untouched."""
    path = old(tmp_path)
    shutil.copy(path, tmp_path / "before.db")
    with state_lock(tmp_path):
        code, said = db(tmp_path, "upgrade")

    assert (code, "already uses" in said) == (3, True)
    assert path.read_bytes() == (tmp_path / "before.db").read_bytes()


def newer(path: Path) -> None:
    """As if a newer version had migrated it."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")


def test_the_way_back_to_an_older_version_is_told_and_leads_there(tmp_path: Path) -> None:
    """The refusal names the copy from before the upgrade; restoring it brings the jobs of then back."""
    path = old(tmp_path)
    assert db(tmp_path, "upgrade")[0] == 0
    newer(path)
    code, refused = db(tmp_path, "check")
    command = f"db restore {path}.backup-0001"

    restored, said = db(tmp_path, *command.split()[1:])

    assert (code, f"or go back to the copy from before: jobfetcher {command}." in refused) == (1, True)
    assert (restored, "is what" in said, "schema 0001" in said) == (0, True, True)
    assert f"What was there before is kept as {path}.replaced-1." in said
    assert "so they go on from there: 1." in said
    assert (upkeep.check(path).revision, db(tmp_path, "upgrade")[0]) == ("0001", 0)


def test_without_a_copy_of_before_none_is_named(tmp_path: Path) -> None:
    """A database that began with a newer version has no way back."""
    filled(tmp_path).close()
    newer(tmp_path / "jobfetcher.db")

    assert "or start with another database." in db(tmp_path, "check")[1]


def test_what_is_restored_replaces_all_and_loses_nothing(tmp_path: Path) -> None:
    """Also what a killed worker had only in its log: it is kept, and does not leak into the copy's place."""
    with filled(tmp_path, 2) as store:
        upkeep.save(store.path, tmp_path / "copy.db")
        store.add(spec(50))
        killed = tmp_path / "killed"
        shutil.copytree(tmp_path, killed)  # with its -wal, as a SIGKILL leaves it
    assert upkeep.check(killed / "jobfetcher.db").jobs == 3

    code, said = db(killed, "restore", str(killed / "copy.db"), "--json")

    kept = Path(json.loads(said)["kept"])
    assert (code, upkeep.check(killed / "jobfetcher.db").jobs, upkeep.check(kept).jobs) == (0, 2, 3)


def test_a_copy_that_is_not_there_is_said(tmp_path: Path) -> None:
    """It is the copy that is to be named aright; no worker needs to be started."""
    filled(tmp_path).close()

    code, said = db(tmp_path, "restore", str(tmp_path / "nosuch.db"))
    expected = f"There is no {tmp_path}/nosuch.db; name a copy that 'db backup' or an upgrade made."
    assert (1, f"jobfetcher: {expected}") == (code, said.strip())


@pytest.mark.parametrize("spoil", [damage, orphan_a_row])
def test_a_damaged_copy_is_not_restored(tmp_path: Path, spoil: Any) -> None:
    """The database stays as it is, and nothing is left beside it."""
    filled(tmp_path, 200).close()
    shutil.copy(tmp_path / "jobfetcher.db", tmp_path / "copy.db")
    spoil(tmp_path / "copy.db")
    before = (tmp_path / "jobfetcher.db").read_bytes()

    assert db(tmp_path, "restore", str(tmp_path / "copy.db"))[0] == 1
    assert before == (tmp_path / "jobfetcher.db").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir() if "lock" not in path.name) == [
        "copy.db",
        "jobfetcher.db",
    ]


def test_nothing_is_restored_under_a_running_worker(tmp_path: Path) -> None:
    """While the lock is held: exit code 3, the file untouched."""
    filled(tmp_path).close()
    upkeep.save(tmp_path / "jobfetcher.db", tmp_path / "copy.db")
    with state_lock(tmp_path):
        code, said = db(tmp_path, "restore", str(tmp_path / "copy.db"))

    assert (code, "already uses" in said) == (3, True)
    assert not list(tmp_path.glob("*.replaced-*"))


def test_nothing_is_made_where_there_is_no_database(tmp_path: Path) -> None:
    """``upgrade`` of nothing is a mistake in the path, most likely."""
    assert (db(tmp_path, "upgrade")[0], list(tmp_path.iterdir())) == (1, [])
