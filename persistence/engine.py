"""How the database is opened: what is committed is on disk, and a write never starts as a read."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import ConnectionPoolEntry, StaticPool

from persistence.explain import explained, explaining

CACHE = "cache_size = -512"
"""KiB of pages that a connection keeps. SQLite's own 2 MiB fill slowly, and then look like a leak."""


def writing_engine(path: Path, busy_seconds: float, wal: bool = True) -> Engine:
    """An engine with one connection, whose every transaction begins with the write lock in its hand."""
    url = URL.create("sqlite", database=str(path.absolute()))
    arguments = {"timeout": busy_seconds, "isolation_level": None, "check_same_thread": False}
    engine = create_engine(url, poolclass=StaticPool, connect_args=arguments)

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _: ConnectionPoolEntry) -> None:
        kept = ("journal_mode = WAL", "foreign_keys = ON") if wal else ()
        _set(connection, CACHE, "synchronous = FULL", *kept)

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # Past SQLAlchemy: its own way would add a tenth to every move.
        connection.connection.cursor().execute("BEGIN IMMEDIATE").close()

    return engine


def reading_engine(path: Path, busy_seconds: float) -> Engine:
    """An engine whose connections can only look; they never wait for the writer, nor it for them."""
    url = URL.create("sqlite", database=str(path.absolute()))
    arguments = {"timeout": busy_seconds, "isolation_level": None}
    engine = create_engine(url, connect_args=arguments, max_overflow=-1)

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _: ConnectionPoolEntry) -> None:
        _set(connection, CACHE, "query_only = ON")

    return engine


def _set(connection: sqlite3.Connection, *pragmas: str) -> None:
    try:
        for pragma in pragmas:
            connection.execute(f"PRAGMA {pragma}")
    except BaseException:
        # SQLAlchemy forgets a connection that its listener did not like, and leaves it open.
        connection.close()
        raise


@contextmanager
def translating(path: Path) -> Iterator[None]:
    """Within the block, SQLAlchemy's, SQLite's and the system's errors become ``persistence.errors``."""
    with explaining(path):
        try:
            yield
        except DBAPIError as error:
            meant = explained(path, error.orig) if error.orig is not None else None
            if meant is None:
                raise
            raise meant from error
