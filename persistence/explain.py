"""SQLite's error codes as sentences: what happened to the database, and what to do."""

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from persistence.errors import StoreFull, StoreUnavailable, StoreUnusable

_LATER = {
    sqlite3.SQLITE_BUSY: "is locked by another program; close it there (a backup? a database browser?)",
    sqlite3.SQLITE_LOCKED: "is locked by another program; close it there (a backup? a database browser?)",
    sqlite3.SQLITE_IOERR: "cannot be read or written because its disk reports errors; check the disk",
    sqlite3.SQLITE_READONLY: "cannot be written; make the file, its folder and its disk writable",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened; check that its folder exists and is writable",
    sqlite3.SQLITE_PERM: "cannot be opened; check the permissions of the file and its folder",
    sqlite3.SQLITE_AUTH: "cannot be opened; check the permissions of the file and its folder",
    sqlite3.SQLITE_NOMEM: "needs more memory than there is; end other programs",
}

_FULL = "cannot grow because its disk is full; free some space"
_LESS_THAN_NEEDED = 64 * 1024
"""Bytes: SQLite makes its files beside the database larger by up to half as much at once."""
_MAY_MEAN_FULL = (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN)
"""What the files beside the database come to on a full disk, other than the log."""

_NEVER = {
    sqlite3.SQLITE_CORRUPT: "is damaged; move it away (keep it) and restore a backup, or start without it",
    sqlite3.SQLITE_NOTADB: "is not a SQLite database; move it away, or choose another path",
    sqlite3.SQLITE_FORMAT: "is damaged; move it away (keep it) and restore a backup, or start without it",
}


def damaged(path: Path, finding: str) -> StoreUnusable:
    """The error for a file whose content contradicts itself; ``finding`` is SQLite's own report."""
    return StoreUnusable(f"The database {path} {_NEVER[sqlite3.SQLITE_CORRUPT]} ({finding}).")


def not_json(path: Path) -> StoreUnusable:
    """The error for a file in which what is written of a job cannot be read: somebody has changed it."""
    return damaged(path, "what it says of a job is no JSON object")


def explained(path: Path, error: BaseException) -> Exception | None:
    """The error to raise instead of ``error``, or None if it says nothing about the database file."""
    if isinstance(error, OSError):
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return StoreFull(f"The database {path} {_FULL} ({error.strerror or error}).")
        return StoreUnavailable(f"The database {path} cannot be used: {error.strerror or error}.")
    code = getattr(error, "sqlite_errorcode", None)
    primary = code & 0xFF if isinstance(code, int) else None
    if primary == sqlite3.SQLITE_FULL or (primary in _MAY_MEAN_FULL and _no_room(path.parent)):
        return StoreFull(f"The database {path} {_FULL} ({error}).")
    if primary in _LATER:
        return StoreUnavailable(f"The database {path} {_LATER[primary]} ({error}).")
    if isinstance(error, sqlite3.OperationalError) and "malformed JSON" in str(error):
        return not_json(path)
    if primary in _NEVER:
        return StoreUnusable(f"The database {path} {_NEVER[primary]} ({error}).")
    return None


def _no_room(folder: Path) -> bool:
    try:
        found = os.statvfs(folder)
    except OSError:
        return False
    return found.f_bavail * found.f_frsize < _LESS_THAN_NEEDED


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
