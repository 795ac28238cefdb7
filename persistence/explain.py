"""SQLite's error codes as sentences: what happened to the database, and what to do."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from persistence.errors import StoreUnavailable, StoreUnusable

_LATER = {
    sqlite3.SQLITE_BUSY: "is locked by another program; close it there (a backup? a database browser?)",
    sqlite3.SQLITE_LOCKED: "is locked by another program; close it there (a backup? a database browser?)",
    sqlite3.SQLITE_FULL: "cannot grow because its disk is full; free some space",
    sqlite3.SQLITE_IOERR: "cannot be read or written because its disk reports errors; check the disk",
    sqlite3.SQLITE_READONLY: "cannot be written; make the file, its folder and its disk writable",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened; check that its folder exists and is writable",
    sqlite3.SQLITE_PERM: "cannot be opened; check the permissions of the file and its folder",
    sqlite3.SQLITE_AUTH: "cannot be opened; check the permissions of the file and its folder",
    sqlite3.SQLITE_NOMEM: "needs more memory than there is; end other programs",
}

_NEVER = {
    sqlite3.SQLITE_CORRUPT: "is damaged; move it away (keep it) and restore a backup, or start without it",
    sqlite3.SQLITE_NOTADB: "is not a SQLite database; move it away, or choose another path",
    sqlite3.SQLITE_FORMAT: "is damaged; move it away (keep it) and restore a backup, or start without it",
}


def damaged(path: Path, finding: str) -> StoreUnusable:
    """The error for a file whose content contradicts itself; ``finding`` is SQLite's own report."""
    return StoreUnusable(f"The database {path} {_NEVER[sqlite3.SQLITE_CORRUPT]} ({finding}).")


def explained(path: Path, error: BaseException) -> Exception | None:
    """The error to raise instead of ``error``, or None if it says nothing about the database file."""
    if isinstance(error, OSError):
        return StoreUnavailable(f"The database {path} cannot be used: {error.strerror or error}.")
    code = getattr(error, "sqlite_errorcode", None)
    primary = code & 0xFF if isinstance(code, int) else None
    if primary in _LATER:
        return StoreUnavailable(f"The database {path} {_LATER[primary]} ({error}).")
    if primary in _NEVER:
        return StoreUnusable(f"The database {path} {_NEVER[primary]} ({error}).")
    return None


@contextmanager
def explaining(path: Path) -> Iterator[None]:
    """Within the block, errors of SQLite and of the file system become ``persistence.errors``."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        meant = explained(path, error)
        if meant is None:
            raise
        raise meant from error
