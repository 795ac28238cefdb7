"""The database file on start: made if there is none, brought up to date if it is older, else refused.

Alembic takes longer to import than a worker to start, so it is loaded only where something is to be done.
"""

from contextlib import closing, suppress
from pathlib import Path

from persistence import readonly
from persistence.engine import translating, writing_engine
from persistence.errors import StoreUnusable
from persistence.path import backup_suffix, beside, path_of
from persistence.upkeep import back_up, make_private, put_in_place
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
        back_up(path, beside(path, backup_suffix(found)))
        _migrate(path, revision)


def _create(path: Path, revision: str) -> None:
    """Made under another name: a file with the right name and nothing in it was truncated, not new."""
    _set_aside_orphan(path)
    new = beside(path, ".new")
    make_private(new)
    _migrate(new, revision)
    put_in_place(new, path)


def _set_aside_orphan(path: Path) -> None:
    """A log whose database was deleted would be replayed into the new one."""
    beside(path, "-shm").unlink(missing_ok=True)
    if beside(path, "-wal").exists():
        beside(path, "-wal").replace(beside(path, "-wal.orphan"))


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
