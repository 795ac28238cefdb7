"""A connection that only looks, and leaves nothing behind: no ``-wal``, no ``-shm``, no changed byte.

A database in WAL mode whose worker is not running has no ``-wal`` file. Opened read-only the usual way,
SQLite would make one, owned by whoever looked. Without it nobody writes, and immutable is true.
"""

import sqlite3
from pathlib import Path
from urllib.parse import quote

from persistence.errors import StoreMissing, StoreUnusable
from persistence.explain import damaged, explaining
from persistence.path import backup_suffix, beside
from persistence.version import HEAD, KNOWN

BUSY_SECONDS = 10.0
"""How long to wait for somebody else's lock."""


def connect(path: Path) -> sqlite3.Connection:
    """Open ``path`` to look at it, whether or not its worker runs.

    Raises ``StoreMissing``, ``StoreUnusable`` (not a database) or ``StoreUnavailable``.
    """
    if not path.exists():
        raise StoreMissing(f"There is no database at {path}; start the worker once, or check the path.")
    with explaining(path):
        if not at_work(path):
            return _open(path, "immutable=1")
        try:
            return _open(path, "mode=ro")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY):
                raise
            return _open_copy(path)


def at_work(path: Path) -> bool:
    """Somebody has the database open for writing, or was killed while they had."""
    return beside(path, "-wal").exists()


def stamp(path: Path) -> tuple[int, int] | None:
    """What changes with every write to a database at rest; None if there is no file."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_mtime_ns, found.st_size


def revision(connection: sqlite3.Connection, path: Path) -> str:
    """The schema revision of the open database. Raises ``StoreUnusable`` if it is not JobFetcher's."""
    with explaining(path):
        try:
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        except sqlite3.OperationalError as error:
            if "no such table" not in str(error):
                raise
            row = None
    if row is None:
        raise StoreUnusable(
            f"The database {path} is empty or not JobFetcher's; move it away, or choose another path."
        )
    if row[0] not in KNOWN:
        raise StoreUnusable(
            f"The database {path} was written by a newer JobFetcher (its schema is {row[0]}, this version "
            f"knows {HEAD}); install that version again, or {_way_back(path)}."
        )
    return str(row[0])


def _way_back(path: Path) -> str:
    """What else to do about a database that is too new."""
    copies = (beside(path, backup_suffix(revision)) for revision in reversed(KNOWN))
    copy = next((copy for copy in copies if copy.exists()), None)
    if copy is None:
        return "start with another database"
    return f"go back to the copy from before: jobfetcher db restore {copy}"


def check_pages(connection: sqlite3.Connection, path: Path) -> None:
    """Read every page once. Raises ``StoreUnusable`` if one is damaged."""
    with explaining(path):
        found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        raise damaged(path, found)


def _open(path: Path, how: str) -> sqlite3.Connection:
    uri = f"file:{quote(str(path.absolute()))}?{how}"
    connection = sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None)
    try:
        connection.execute("PRAGMA schema_version").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection


def _open_copy(path: Path) -> sqlite3.Connection:
    """Look at a copy in memory: the ``-wal`` holds the latest moves, and its folder cannot be written.

    Immutable would do without the copy, and silently without those moves.
    """
    import shutil
    import tempfile

    connection = sqlite3.connect(":memory:", isolation_level=None)
    with tempfile.TemporaryDirectory(prefix="jobfetcher-") as folder:
        copy = Path(folder) / "copy.db"
        shutil.copyfile(path, copy)
        shutil.copyfile(beside(path, "-wal"), beside(copy, "-wal"))
        original = sqlite3.connect(copy)
        try:
            original.backup(connection)
        finally:
            original.close()
    return connection
