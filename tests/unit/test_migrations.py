"""The schema's history: from nothing, from the first release's file, and through crashes on the way."""

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, event

import persistence
from persistence.migrate import upgrade
from persistence.schema import metadata
from persistence.store import SqlStore
from persistence.version import HEAD, KNOWN
from states.job import JobState
from tests.crash_injection import CrashPoints, SimulatedCrash

DATA = Path(__file__).parents[1] / "data"
RELEASED = ("0001", "0002")
"""Schemas of which there are files; each has a fixture in ``tests/data``."""


def released(path: Path, revision: str) -> Path:
    """A file as a worker of that schema left it."""
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript((DATA / f"jobfetcher-{revision}.sql").read_text())
    return path


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A file as the first release left it."""
    return released(tmp_path / "jobs.db", "0001")


def url(path: Path) -> str:
    return f"sqlite:///{path}"


def dump(path: Path) -> list[str]:
    """The whole content as statements, in a fixed order."""
    with closing(sqlite3.connect(path)) as connection:
        return sorted(" ".join(line.split()) for line in connection.iterdump())


def revision(path: Path) -> str:
    with closing(sqlite3.connect(path)) as connection:
        return str(connection.execute("SELECT version_num FROM alembic_version").fetchone()[0])


def migrated(path: Path) -> Path:
    """A new file that has gone the whole way: made by the first revision, then brought up to date."""
    return upgrade(url(upgrade(url(path), KNOWN[0])))


def tables(path: Path) -> dict[str, list[tuple[object, ...]]]:
    """The columns of each table: place, name, type, whether it may be NULL, default, part of the key."""
    with closing(sqlite3.connect(path)) as connection:
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        return {name: connection.execute(f"PRAGMA table_info({name})").fetchall() for (name,) in names}


def indexes_of(path: Path, table: str) -> list[str]:
    """Names of the table's indexes, in the order in which they were made."""
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'index' AND sql NOT NULL AND tbl_name = ? "
            "ORDER BY rowid",
            (table,),
        )
        return [name for (name,) in rows]


def indexes(path: Path) -> set[str]:
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT sql FROM sqlite_master WHERE type = 'index' AND sql NOT NULL")
        return {row[0].replace('"', "") for row in rows}


def test_the_known_revisions_are_the_scripts() -> None:
    """``persistence.version`` lists the migrations that are there, in their order."""
    scripts = ScriptDirectory(str(Path(persistence.__file__).parent / "migrations"))

    assert list(KNOWN) == [script.revision for script in scripts.walk_revisions()][::-1]
    assert scripts.get_current_head() == HEAD


def test_the_migrations_lead_to_the_schema(tmp_path: Path) -> None:
    """Alembic finds no difference between the migrated file and ``persistence.schema``."""
    engine = create_engine(url(migrated(tmp_path / "migrated.db")))
    with engine.connect() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), metadata)
    engine.dispose()

    assert differences == []


def test_a_new_file_is_what_the_migrations_make(tmp_path: Path) -> None:
    """It is made without them: tables, indexes with their conditions, and the revision are the same."""
    made, grown = upgrade(url(tmp_path / "made.db")), migrated(tmp_path / "migrated.db")

    assert tables(made) == tables(grown)
    assert indexes(made) == indexes(grown)
    assert (revision(made), revision(grown)) == (HEAD, HEAD)


def test_a_new_files_indexes_are_made_in_the_order_of_the_migrations(tmp_path: Path) -> None:
    """Where two would do, SQLite takes the later one: which it is must not depend on chance."""
    made, grown = upgrade(url(tmp_path / "made.db")), migrated(tmp_path / "migrated.db")

    assert indexes_of(made, "outbox") == ["ix_outbox_job_key", "outbox_unsent"]
    assert [indexes_of(made, name) for name in metadata.tables] == [
        indexes_of(grown, name) for name in metadata.tables
    ]


@pytest.mark.parametrize("of", RELEASED)
def test_an_old_file_is_what_its_revision_makes(tmp_path: Path, of: str) -> None:
    """The fixture has the tables and indexes of its revision."""
    made, old = upgrade(url(tmp_path / "made.db"), of), released(tmp_path / "old.db", of)

    assert indexes(made) == indexes(old)
    assert (revision(made), revision(old)) == (of, of)


@pytest.mark.row(53)
def test_an_old_file_keeps_its_jobs(old: Path) -> None:
    """Every job, move, status and file of the old file is there after the migration."""
    with SqlStore(url(old), "w") as store:
        [live] = store.live()

        assert (live.id, live.state, live.version, live.attempts) == ("9", JobState.RUNNING, 3, 1)
        assert live.facts.run is not None
        assert [move.target for move in store.history(live.key)] == ["fetched", "downloading", "running"]
        assert [update.status.value for update in store.unsent()] == ["running"]
        assert [(f.path, f.size, f.seconds) for f in store.files(live, "down")] == [("data/a.tif", 12, 0.0)]
        assert [job.id for job in store.sweepable()] == ["7", "8"]
    assert revision(old) == HEAD


@pytest.mark.row(53)
def test_a_file_of_0002_keeps_its_jobs(tmp_path: Path) -> None:
    """What has been swept stays swept; the live job, its file and its unsent status are there."""
    path = released(tmp_path / "jobs.db", "0002")
    with SqlStore(url(path), "w") as store:
        [live] = store.live()

        assert (live.id, live.state, live.attempts) == ("9", JobState.DOWNLOADING, 0)
        assert [update.status.value for update in store.unsent()] == ["preprocessing"]
        assert [(f.path, f.size, f.seconds) for f in store.files(live, "down")] == [("data/a.tif", 12, 0.5)]
        assert [job.id for job in store.sweepable()] == ["8"]
    assert revision(path) == HEAD


@pytest.mark.row(53)
@pytest.mark.parametrize("of", RELEASED)
def test_an_old_file_is_backed_up_first(tmp_path: Path, of: str) -> None:
    """The copy beside it is the old file's content, under its revision, for its owner only."""
    old = released(tmp_path / "jobs.db", of)
    before = dump(old)
    upgrade(url(old))
    backup = old.with_name(f"jobs.db.backup-{of}")

    assert before == dump(backup)
    assert backup.stat().st_mode & 0o777 == 0o600
    assert {old, backup} == set(old.parent.iterdir())


def test_a_current_file_is_neither_copied_nor_changed(tmp_path: Path) -> None:
    """Upgrading twice is upgrading once."""
    path = upgrade(url(tmp_path / "jobs.db"))
    before = path.read_bytes()
    upgrade(url(path))

    assert before == path.read_bytes()
    assert [path] == list(tmp_path.iterdir())


@pytest.mark.parametrize("is_new", [True, False], ids=["new", "current"])
def test_a_file_that_is_not_older_does_not_load_alembic(tmp_path: Path, is_new: bool) -> None:
    """An ordinary start does without it: loading it takes longer than the start, and much memory."""
    path = tmp_path / "jobs.db"
    if not is_new:
        upgrade(url(path))
    program = (
        "import sys; from persistence.store import SqlStore; "
        f"SqlStore({url(path)!r}, 'w').close(); print('alembic' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)

    assert found.stdout == "False\n"


def crashed(path: Path, crash_at: int) -> CrashPoints:
    """Upgrade ``path``, and die at the point ``crash_at`` if there are so many."""
    points = CrashPoints(crash_at)

    def watch(connection: Connection) -> None:
        points.watch(connection.engine)

    event.listen(Engine, "engine_connect", watch)
    try:
        upgrade(url(path))
    except SimulatedCrash:
        assert points.dead
    finally:
        event.remove(Engine, "engine_connect", watch)
    return points


@pytest.mark.row(53)
def test_a_migration_that_dies_is_whole_or_undone(old: Path, tmp_path: Path) -> None:
    """Die before or after any statement of the migration: the file is wholly old or wholly new, and the
    next start brings it up to date."""
    upgraded = tmp_path / "upgraded.db"
    upgraded.write_bytes(old.read_bytes())
    whole = dump(upgrade(url(upgraded)))
    total = 0
    while True:
        folder = tmp_path / str(total)
        folder.mkdir()
        path = folder / "jobs.db"
        path.write_bytes(old.read_bytes())
        died = crashed(path, total).dead
        assert dump(path) == (dump(old) if revision(path) == "0001" else whole)
        assert whole == dump(upgrade(url(path)))
        if not died:
            break
        total += 1
    assert total > 10


def test_a_first_start_that_dies_leaves_no_half_database(tmp_path: Path) -> None:
    """Until the new database is whole there is none under its name; the next start makes it."""
    for number in range(0, 60, 5):
        path = tmp_path / f"{number}.db"
        died = crashed(path, number).dead

        assert died is not path.exists()
        assert revision(upgrade(url(path))) == HEAD
        assert not path.with_name(f"{number}.db.new").exists()
