"""Looking after the database file: is it healthy, and copies of it. Loads nothing but ``sqlite3``."""

import os
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from persistence import readonly
from persistence.errors import StoreUnusable
from persistence.explain import damaged, explaining, not_json
from persistence.path import beside
from persistence.version import HEAD

_LIVE = "('downloading', 'fetched', 'running', 'uploading')"

_NO_OBJECTS = (
    "CASE WHEN json_valid(spec) AND json_valid(facts) THEN json_type(spec) || json_type(facts) ELSE '' END "
    "<> 'objectobject'"
)


class BackupExists(Exception):
    """There is a file under that name already. Choose another one, or move it away."""


@dataclass(frozen=True)
class Health:
    """A database without damage."""

    revision: str
    """Schema revision."""
    jobs: int
    live: int
    """How many of them have not ended."""
    bytes: int

    @property
    def is_older(self) -> bool:
        """An earlier version wrote it: the next start of the worker, or ``db upgrade``, changes it."""
        return self.revision != HEAD


def check(path: Path, thorough: bool = False) -> Health:
    """Read every page of the database; ``thorough``: also hold indexes and references against the tables.

    Changes nothing. Raises ``StoreMissing``, ``StoreUnusable`` (damaged, newer, not ours) or
    ``StoreUnavailable``.
    """
    with closing(readonly.connect(path)) as connection:
        revision = readonly.revision(connection, path)
        readonly.check_pages(connection, path)
        with explaining(path):
            if thorough:
                _check_content(connection, path)
            jobs, live = connection.execute(f"SELECT count(*), total(state IN {_LIVE}) FROM jobs").fetchone()
            return Health(revision, jobs, int(live), path.stat().st_size)


def save(path: Path, target: Path) -> Health:
    """Copy the database to ``target`` as of one instant, also while the worker writes, and check the copy.

    Raises ``BackupExists``, and what ``check`` raises.
    """
    if target.exists():
        raise BackupExists(f"{target} exists already and was left as it is; choose another name.")
    new = beside(target, ".new")
    with explaining(target):
        make_private(new)
    try:
        while not _copied_at_rest(path, new):
            pass
        health = check(new, thorough=True)
        with explaining(target):
            put_in_place(new, target)
    finally:
        new.unlink(missing_ok=True)
    return health


def restore(path: Path, copy: Path) -> tuple[Health, Path | None]:
    """Put a copy in the database's place, which nobody may use. Returns where the old one is kept, if any.

    Whatever dies in between: under the name is one of the two, whole. Raises what ``check`` of the copy
    raises.
    """
    health = check(copy, thorough=True)
    new = beside(path, ".new")
    with explaining(path):
        make_private(new)
        with closing(readonly.connect(copy)) as source, closing(sqlite3.connect(new)) as target:
            source.backup(target)
        kept = _set_aside(path) if path.exists() else None
        put_in_place(new, path)
    return health, kept


def _set_aside(path: Path) -> Path:
    """Give the file a second name, with its log, which must not be replayed into another file."""
    kept = next(p for n in count(1) if not (p := beside(path, f".replaced-{n}")).exists())
    if (log := beside(path, "-wal")).exists():
        os.link(log, beside(kept, "-wal"))
    os.link(path, kept)
    for leftover in (log, beside(path, "-shm")):
        leftover.unlink(missing_ok=True)
    return kept


def back_up(path: Path, backup: Path) -> None:
    """Copy a database that nobody else writes, over an earlier copy if there is one."""
    new = beside(backup, ".new")
    make_private(new)
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(new)) as target:
        source.backup(target)
    put_in_place(new, backup)


def make_private(path: Path) -> None:
    """An empty file that only this account may read, in place of whatever was left there."""
    for leftover in (path, beside(path, "-journal")):
        leftover.unlink(missing_ok=True)
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


def put_in_place(new: Path, path: Path) -> None:
    """Give ``new`` its name, so that it keeps it whatever happens."""
    new.replace(path)
    folder = os.open(path.absolute().parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _copied_at_rest(path: Path, new: Path) -> bool:
    """Copy once. False if a worker began to write a file that was taken for one at rest."""
    at_rest, before = not readonly.at_work(path), readonly.stamp(path)
    with closing(readonly.connect(path)) as source, explaining(path):
        readonly.revision(source, path)
        with closing(sqlite3.connect(new)) as target:
            source.backup(target)
    return not at_rest or (not readonly.at_work(path) and before == readonly.stamp(path))


def _check_content(connection: sqlite3.Connection, path: Path) -> None:
    found = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
    if found != "ok":
        raise damaged(path, found)
    if connection.execute(f"SELECT 1 FROM jobs WHERE {_NO_OBJECTS} LIMIT 1").fetchone():
        raise not_json(path)
    if (stray := connection.execute("PRAGMA foreign_key_check").fetchone()) is not None:
        raise StoreUnusable(
            f"The database {path} contradicts itself (a row of {stray[0]} belongs to no row of {stray[2]}); "
            "move it away (keep it) and restore a backup, or start without it."
        )
