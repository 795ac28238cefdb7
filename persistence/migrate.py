"""The database file on start: made if there is none, brought up to date if it is older, else refused.

Alembic takes longer to import than a worker to start, so it is loaded only where something is to be done.
"""

import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from persistence import readonly
from persistence.engine import translating, writing_engine
from persistence.errors import StoreUnusable
from persistence.path import beside, path_of
from persistence.version import HEAD

_SCRIPTS = Path(__file__).parent / "migrations"


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
        _back_up(path, beside(path, f".backup-{found}"))
        _migrate(path, revision)


def _create(path: Path, revision: str) -> None:
    """Made under another name: a file with the right name and nothing in it was truncated, not new."""
    _set_aside_orphan(path)
    new = beside(path, ".new")
    _make_private(new)
    _migrate(new, revision)
    _put_in_place(new, path)


def _set_aside_orphan(path: Path) -> None:
    """A log whose database was deleted would be replayed into the new one."""
    beside(path, "-shm").unlink(missing_ok=True)
    if beside(path, "-wal").exists():
        beside(path, "-wal").replace(beside(path, "-wal.orphan"))


def _back_up(path: Path, backup: Path) -> None:
    new = beside(backup, ".new")
    _make_private(new)
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(new)) as target:
        source.backup(target)
    _put_in_place(new, backup)


def _make_private(path: Path) -> None:
    for leftover in (path, beside(path, "-journal")):
        leftover.unlink(missing_ok=True)
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


def _put_in_place(new: Path, path: Path) -> None:
    new.replace(path)
    folder = os.open(path.absolute().parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _migrate(path: Path, revision: str) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    engine = writing_engine(path, readonly.BUSY_SECONDS, wal=False)
    try:
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, revision)
    finally:
        engine.dispose()
