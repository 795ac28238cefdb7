"""The database file on start: made if there is none, brought up to date if it is older, else refused.

Alembic takes longer to import than a worker to start, and stays in its memory: it is loaded only where a file
is older. A new one is made as the schema wants it, which comes to the same.
"""

from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from sqlalchemy import Connection
from sqlalchemy.schema import CreateIndex, CreateTable

from persistence import readonly
from persistence.engine import translating, writing_engine
from persistence.errors import StoreUnusable
from persistence.path import backup_suffix, beside, path_of
from persistence.schema import metadata
from persistence.upkeep import back_up, make_private, put_in_place
from persistence.version import HEAD

_SCRIPTS = Path(__file__).parent / "migrations"
_REVISIONS = (
    "CREATE TABLE alembic_version "
    "(version_num VARCHAR(32) NOT NULL, CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num))"
)


def upgrade(url: str, revision: str = HEAD) -> Path:
    """Make the SQLite file of ``url`` one of schema ``revision``, and return its path.

    An older file is copied to ``<file>.backup-<its revision>`` first, and changed in one transaction.
    Raises ``StoreUnusable`` (not ours, damaged, newer; the file is left untouched) or
    ``StoreUnavailable``.
    """
    path = path_of(url)
    if path is None:
        raise StoreUnusable(f"{url!r} names no SQLite file; write it as sqlite:////folder/file.db.")
    with translating(path):
        if path.exists():
            _bring_up_to_date(path, revision)
        else:
            _create(path, revision)
    return path


def _bring_up_to_date(path: Path, revision: str) -> None:
    with closing(readonly.connect(path)) as connection:
        found = readonly.revision(connection, path)
        readonly.check_pages(connection, path)
    # Another user's file that we may write was opened up on purpose.
    with suppress(PermissionError):
        path.chmod(0o600)
    if found < revision:
        back_up(path, beside(path, backup_suffix(found)))
        _migrate(path, revision)


def _create(path: Path, revision: str) -> None:
    """Made under another name: a file with the right name and nothing in it was truncated, not new."""
    _set_aside_orphan(path)
    new = beside(path, ".new")
    make_private(new)
    if revision == HEAD:
        _lay_out(new)
    else:
        _migrate(new, revision)
    put_in_place(new, path)


def _set_aside_orphan(path: Path) -> None:
    """A log whose database was deleted would be replayed into the new one."""
    beside(path, "-shm").unlink(missing_ok=True)
    if beside(path, "-wal").exists():
        beside(path, "-wal").replace(beside(path, "-wal.orphan"))


def _lay_out(path: Path) -> None:
    """Give an empty file the schema, and note which revision that is as Alembic would.

    A table's indexes are made in the order of their names: where two would do, SQLite takes the later one.
    """
    with _transaction(path) as connection:
        for table in metadata.sorted_tables:
            connection.execute(CreateTable(table))
            for index in sorted(table.indexes, key=lambda index: str(index.name)):
                connection.execute(CreateIndex(index))
        connection.exec_driver_sql(_REVISIONS)
        connection.exec_driver_sql("INSERT INTO alembic_version VALUES (?)", (HEAD,))


def _migrate(path: Path, revision: str) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    with _transaction(path) as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


@contextmanager
def _transaction(path: Path) -> Iterator[Connection]:
    engine = writing_engine(path, readonly.BUSY_SECONDS, wal=False)
    try:
        with engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()
