"""Looking at the database without the worker's weight: the ``sqlite3`` module and nothing else.

What is read is what was committed, also while the worker writes. A test holds the statements against
the schema.
"""

import json
import sqlite3
from collections.abc import Collection
from dataclasses import fields
from pathlib import Path
from typing import Any

from persistence import readonly
from persistence.closing import Closing
from persistence.errors import StoreUnusable
from persistence.explain import explaining, not_json
from persistence.rows import FileRow, JobRow, MoveRow, OutboxRow
from persistence.version import HEAD

__all__ = ["FileRow", "JobRow", "MoveRow", "OutboxRow", "Reader", "open_reader"]


def _columns(row: type) -> str:
    return ", ".join(f'"{field.name}"' for field in fields(row))


JOBS = f"SELECT {_columns(JobRow)} FROM jobs"
MOVES = f"SELECT {_columns(MoveRow)} FROM moves WHERE job_key = ? ORDER BY id"
OUTBOX = f"SELECT {_columns(OutboxRow)} FROM outbox WHERE job_key = ? ORDER BY id"
UNSENT = f"SELECT {_columns(OutboxRow)} FROM outbox WHERE job_key = ? AND sent_at IS NULL ORDER BY id"
ALL_UNSENT = (
    f"SELECT jobs.api_id, {', '.join(f'outbox.{field.name}' for field in fields(OutboxRow))} FROM outbox "
    "JOIN jobs ON jobs.key = outbox.job_key WHERE sent_at IS NULL AND NOT jobs.gone ORDER BY outbox.id"
)
_IMAGE = "json_object('handler', json_object('image_url', json_extract(jobs.spec, '$.handler.image_url')))"
_BRIEF = ", ".join(_IMAGE if field.name == "spec" else f"jobs.{field.name}" for field in fields(JobRow))
_LIVE = "IN ('downloading', 'fetched', 'running', 'uploading')"
AT_WORK = (
    f"SELECT (SELECT max(at) FROM moves WHERE job_key = jobs.key), {_BRIEF} FROM jobs "
    f"WHERE state {_LIVE} ORDER BY worker, key"
)
"""Without specifications, which may name thousands of files; only the image is left."""
LATELY_ENDED = (
    f"SELECT moves.at, {_BRIEF} FROM moves JOIN jobs ON jobs.key = moves.job_key "
    f"WHERE moves.target NOT {_LIVE} ORDER BY moves.id DESC LIMIT ?"
)
UNSENT_COUNTS = "SELECT job_key, count(*) FROM outbox WHERE sent_at IS NULL GROUP BY job_key"
FILES = f"SELECT {_columns(FileRow)} FROM files WHERE job_key = ? ORDER BY direction, kind, path"
FLAGS = "SELECT DISTINCT name FROM flags"
COUNTS = "SELECT state, count(*) FROM jobs GROUP BY state ORDER BY state"


class Reader(Closing):
    """Every call reads anew. Use it as a context manager, from one thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connect()

    def close(self) -> None:
        self._connection.close()

    def jobs(
        self, states: Collection[str] | None = None, limit: int | None = None, since: float | None = None
    ) -> list[JobRow]:
        """Jobs, newest first; if given, only those in ``states``, those that something happened to after
        ``since`` (seconds since the epoch), and at most ``limit``.
        """
        wanted = [str(state) for state in states or ()]
        where = " WHERE updated_at >= ?"
        where += "" if states is None else f" AND state IN ({', '.join('?' for _ in wanted)})"
        values = (since or 0.0, *wanted, -1 if limit is None else limit)
        return self._jobs(f"{JOBS}{where} ORDER BY key DESC LIMIT ?", *values)

    def job(self, api_id: str) -> list[JobRow]:
        """Every lease of the API's job ``api_id``, newest first."""
        return self._jobs(f"{JOBS} WHERE api_id = ? ORDER BY key DESC", api_id)

    def moves(self, key: int) -> list[MoveRow]:
        """The job's history, oldest first."""
        return [MoveRow(*row) for row in self._query(MOVES, key)]

    def outbox(self, key: int, only_unsent: bool = False) -> list[OutboxRow]:
        """The job's statuses for the API, oldest first."""
        return [OutboxRow(*row) for row in self._query(UNSENT if only_unsent else OUTBOX, key)]

    def unsent(self) -> list[tuple[str, OutboxRow]]:
        """What the API has yet to hear of all jobs that are ours, oldest first, each with the job's id."""
        return [(row[0], OutboxRow(*row[1:])) for row in self._query(ALL_UNSENT)]

    def unsent_counts(self) -> dict[int, int]:
        """How many statuses the API has yet to hear, by the job's key; jobs without any are left out."""
        return dict(self._query(UNSENT_COUNTS))

    def at_work(self) -> list[tuple[float, JobRow]]:
        """The jobs that have not ended, oldest first, each with when it came into its state (seconds since
        the epoch). Of their specifications only the image is there.
        """
        return [(row[0], self._job(row[1:])) for row in self._query(AT_WORK)]

    def lately_ended(self, limit: int) -> list[tuple[float, JobRow]]:
        """The jobs that ended last, the latest first, each with when (seconds since the epoch).

        Of their specifications only the image is there.
        """
        return [(row[0], self._job(row[1:])) for row in self._query(LATELY_ENDED, limit)]

    def files(self, key: int) -> list[FileRow]:
        """The job's files that are whole."""
        return [FileRow(*row) for row in self._query(FILES, key)]

    def counts(self) -> dict[str, int]:
        """How many jobs are in each state; states without one are left out."""
        return dict(self._query(COUNTS))

    def flags(self) -> set[str]:
        """What stays true of the worker over its restarts (``draining``)."""
        return {name for (name,) in self._query(FLAGS)}

    def _jobs(self, statement: str, *values: object) -> list[JobRow]:
        return [self._job(row) for row in self._query(statement, *values)]

    def _job(self, row: tuple[Any, ...]) -> JobRow:
        values = dict(zip((field.name for field in fields(JobRow)), row, strict=True))
        try:
            spec, facts = (dict(json.loads(values[name])) for name in ("spec", "facts"))
        except (ValueError, TypeError) as error:
            raise not_json(self._path) from error
        return JobRow(**{**values, "gone": bool(values["gone"]), "spec": spec, "facts": facts})

    def _query(self, statement: str, *values: object) -> list[Any]:
        if self._frozen and (readonly.at_work(self._path) or readonly.stamp(self._path) != self._stamp):
            self.close()
            self._connect()
        with explaining(self._path):
            return self._connection.execute(statement, values).fetchall()

    def _connect(self) -> None:
        # Taken before opening: a worker that starts in between, or an operator's request, is noticed by the
        # next query.
        self._stamp = readonly.stamp(self._path)
        self._frozen = not readonly.at_work(self._path)
        self._connection: sqlite3.Connection = readonly.connect(self._path)
        try:
            _check(readonly.revision(self._connection, self._path), self._path)
        except BaseException:
            self._connection.close()
            raise


def open_reader(path: Path) -> Reader:
    """Open the database to look at it.

    Raises ``StoreMissing`` (no file), ``StoreUnusable`` (not JobFetcher's, damaged, another schema) or
    ``StoreUnavailable`` (locked, not readable).
    """
    return Reader(path)


def _check(revision: str, path: Path) -> None:
    if revision != HEAD:
        raise StoreUnusable(
            f"The database {path} was written by an older JobFetcher (its schema is {revision}, this version "
            f"reads {HEAD}); start the worker once or run 'jobfetcher db upgrade'."
        )
