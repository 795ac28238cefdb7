"""What an operator asks of a worker, running or not: one table, written here with ``sqlite3`` alone.

``Operator`` asks and reads the answer; ``Desk`` is the worker's side. A request stays open until what it
asks for is on disk: a worker that dies in between finds it again at its next start. The flags that outlive
the worker are raised and lowered in the transaction of the answer. A test holds the statements against the
schema.
"""

import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from persistence import readonly
from persistence.closing import Closing
from persistence.errors import StoreUnavailable, StoreUnusable
from persistence.explain import explaining
from persistence.version import HEAD

ASK = "INSERT INTO requests (worker, at, kind, job_key, arguments) VALUES (?, ?, ?, ?, ?)"
ANSWER_OF = "SELECT answer, refused FROM requests WHERE id = ? AND done_at IS NOT NULL"
OPEN = "SELECT id, kind, job_key, arguments FROM requests WHERE worker = ? AND done_at IS NULL ORDER BY id"
DONE = "UPDATE requests SET done_at = ?, answer = ?, refused = ? WHERE id = ? AND done_at IS NULL"
FLAG = "SELECT 1 FROM flags WHERE worker = ? AND name = ?"
RAISE = "INSERT OR REPLACE INTO flags (worker, name, at) VALUES (?, ?, ?)"
LOWER = "DELETE FROM flags WHERE worker = ? AND name = ?"
FORGET_UPLOADS = "DELETE FROM files WHERE job_key = ? AND direction = 'up'"

DRAINING = "draining"
"""The flag of a worker that takes no new jobs."""


@dataclass(frozen=True)
class Request:
    """One thing that an operator asks for."""

    id: int
    kind: str
    job_key: int | None
    """The job it is about, if it is about one."""
    arguments: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """What came of a request."""

    text: str
    """A sentence for the operator."""
    refused: bool = False
    found: dict[str, Any] = field(default_factory=dict)
    """Figures, for programs."""


@dataclass(frozen=True)
class Effect:
    """What becomes true in the same transaction as the answer."""

    raises: str | None = None
    """A flag."""
    lowers: str | None = None
    """A flag."""
    forgets_uploads_of: int | None = None
    """The key of a job of whose uploads nothing is to be known any more."""


NOTHING_ELSE = Effect()


class _Connection(Closing):
    """One connection that writes; any thread may use it."""

    def __init__(self, path: Path, busy_seconds: float, clock: Callable[[], float]) -> None:
        self._path = path
        self._clock = clock
        self._lock = threading.Lock()
        self._closed = False
        with explaining(path):
            self._connection = sqlite3.connect(
                f"{path.absolute().as_uri()}?mode=rw",
                uri=True,
                timeout=busy_seconds,
                isolation_level=None,
                check_same_thread=False,
            )
        try:
            with explaining(path):
                self._connection.execute("PRAGMA synchronous = FULL")
                self._connection.execute("PRAGMA foreign_keys = ON")
            _check(readonly.revision(self._connection, path), path)
        except BaseException:
            self._connection.close()
            raise

    def close(self) -> None:
        """Waits for a write in progress."""
        with self._lock:
            self._closed = True
            self._connection.close()

    def _rows(self, statement: str, *values: object) -> list[Any]:
        with self._usable() as connection:
            return connection.execute(statement, values).fetchall()

    @contextmanager
    def _usable(self) -> Iterator[sqlite3.Connection]:
        with self._lock, explaining(self._path):
            if self._closed:
                raise StoreUnavailable(f"The database {self._path} is closed: its worker is stopping.")
            yield self._connection

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._usable():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")


class Operator(_Connection):
    """Asks things of workers. Raises ``persistence.errors``; waits ``busy_seconds`` for the writer."""

    def __init__(
        self,
        path: Path,
        busy_seconds: float = readonly.BUSY_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(path, busy_seconds, clock)

    def ask(self, worker: str, kind: str, job_key: int | None = None, **arguments: object) -> int:
        """Put a request on record, and return its number. It is on disk."""
        with self._writing() as connection:
            said = json.dumps(arguments)
            cursor = connection.execute(ASK, (worker, self._clock(), kind, job_key, said))
            return int(cursor.lastrowid or 0)

    def answer_to(self, request: int) -> Answer | None:
        """What came of the request; None while it is open."""
        rows = self._rows(ANSWER_OF, request)
        if not rows:
            return None
        text, refused = rows[0]
        said = json.loads(text)
        return Answer(said.pop("text"), bool(refused), said)


class Desk(_Connection):
    """The requests to one worker, and its flags. Raises ``persistence.errors``."""

    def __init__(
        self,
        path: Path,
        worker: str,
        busy_seconds: float = readonly.BUSY_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(path, busy_seconds, clock)
        self._worker = worker

    def waiting(self) -> list[Request]:
        """What is open, oldest first."""
        rows = self._rows(OPEN, self._worker)
        return [Request(number, kind, key, _arguments(said)) for number, kind, key, said in rows]

    def answer(self, request: Request, answer: Answer, effect: Effect = NOTHING_ELSE) -> None:
        """Close the request; on disk on return, together with the effect. Nothing if it is closed already."""
        said = json.dumps({"text": answer.text, **answer.found})
        with self._writing() as connection:
            values = (self._clock(), said, answer.refused, request.id)
            if connection.execute(DONE, values).rowcount == 0:
                return
            if effect.raises:
                connection.execute(RAISE, (self._worker, effect.raises, self._clock()))
            if effect.lowers:
                connection.execute(LOWER, (self._worker, effect.lowers))
            if effect.forgets_uploads_of is not None:
                connection.execute(FORGET_UPLOADS, (effect.forgets_uploads_of,))

    def flag(self, name: str) -> bool:
        """Whether the flag is up."""
        return bool(self._rows(FLAG, self._worker, name))


def _arguments(said: str) -> dict[str, Any]:
    """Written by whoever can write the database: what is no object is nothing."""
    try:
        found = json.loads(said)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _check(revision: str, path: Path) -> None:
    if revision != HEAD:
        raise StoreUnusable(
            f"The database {path} was written by an older JobFetcher (its schema is {revision}, this version "
            f"writes {HEAD}); start the worker once or run 'jobfetcher db upgrade'."
        )
