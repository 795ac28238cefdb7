"""``SqlStore``: what has happened, in one SQLite file. Not persisted = did not happen.

Each writing call is one transaction (job, history and outbox together) and returns once it is on disk.
One connection writes, for one thread at a time, and calls that come together share a commit (see
``persistence.together``); reading has connections of its own and waits for nobody.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Row, Select, Update

from persistence import statements as sql
from persistence.closing import Closing
from persistence.engine import reading_engine, translating, writing_engine
from persistence.errors import StoreUnusable
from persistence.images import PulledImages
from persistence.mapping import (
    facts_text,
    file_rows,
    first_move,
    job_from,
    move,
    moved_columns,
    new_job,
    plain,
    refreshed,
    told,
    update_from,
)
from persistence.migrate import upgrade
from persistence.readonly import BUSY_SECONDS
from persistence.reserve import Reserve
from persistence.rows import LiveJob, MoveRow, OutboxRow
from persistence.together import Together
from states.errors import StaleJob
from states.job import Job, JobState, StatusUpdate, Trigger
from states.ports import StoredFile
from states.spec import JobSpec
from states.table import LIVE


class SqlStore(Closing):
    """``states.ports.Store`` in the SQLite file of ``url``; only ``worker``'s jobs are listed.

    Safe to use from many threads. ``clock`` gives seconds since the epoch; ``on_queued`` is called, in the
    thread that wrote, after each commit that queued a status; ``busy_seconds`` is how long to wait for
    another program's lock. Every call may raise ``StoreUnavailable`` (nothing was written; try again) or
    ``StoreUnusable`` (stop).
    """

    def __init__(
        self,
        url: str,
        worker: str,
        clock: Callable[[], float] = time.time,
        on_queued: Callable[[], None] | None = None,
        *,
        busy_seconds: float = BUSY_SECONDS,
    ) -> None:
        self.path = upgrade(url)
        self._worker = worker
        self._clock = clock
        self._on_queued = on_queued
        self.engine = writing_engine(self.path, busy_seconds)
        """The writing side; listen to its events to see, or to break, every write."""
        self._reading = reading_engine(self.path, busy_seconds)
        with translating(self.path):
            self._connection = self.engine.connect()
            self._inode = self._inode_now()
        self._writing = Together(self._connection)
        self._acknowledged: dict[int, float] = {}
        """Updates that are as good as sent, and when they were: marked along with the next write."""
        self.reserve = Reserve(self.path, self._transaction)
        self.images = PulledImages(self._transaction, self._read, clock)

    def close(self) -> None:
        """Close the file; waits for a write in progress. Readers first: the last one out folds the log in."""
        with self.reserve.staying(), self._writing.alone():
            self._reading.dispose()
            self._connection.close()
            self.engine.dispose()

    def check_file(self) -> None:
        """Raise ``StoreUnusable`` if the file was deleted or replaced: what we wrote would be lost."""
        try:
            same = self._inode_now() == self._inode
        except FileNotFoundError:
            same = False
        if not same:
            raise StoreUnusable(
                f"The database {self.path} was deleted or replaced while the worker ran; stop the "
                "worker, put the file back (or leave it away, to begin empty), and start it again."
            )

    def add(self, spec: JobSpec) -> Job:
        """Take a lease on; see ``states.ports.Store.add``."""
        return self.add_all([spec])[0]

    def add_all(self, specs: list[JobSpec]) -> list[Job]:
        """``add`` for all of them, in one transaction: all or none."""
        with self._transaction() as connection:
            taken = [self._take(connection, spec) for spec in specs]
        self._announce(any(queued for _, queued in taken))
        return [job for job, _ in taken]

    def get(self, key: int) -> Job:
        """The job as it is now. Raises ``LookupError`` if there is none."""
        rows = self._read(sql.GET, of_key=key)
        if not rows:
            raise LookupError(f"There is no job with the key {key} in {self.path}.")
        return job_from(rows[0])

    def find(self, api_id: str) -> list[Job]:
        """Every lease of the API's job ``api_id``, newest first."""
        return self._jobs(sql.FIND, of_id=plain(api_id))

    def all_jobs(self) -> list[Job]:
        """Every job, ended ones too, oldest first."""
        return self._jobs(sql.ALL)

    def live(self) -> list[Job]:
        """Jobs that are not in a terminal state, oldest first."""
        return self._jobs(sql.LIVE)

    def live_now(self) -> list[LiveJob]:
        """The same jobs, but only what changes of them: for those who look every second."""
        return [LiveJob(**row._asdict()) for row in self._read(sql.LIVE_NOW, of_worker=self._worker)]

    def begin(self, job: Job) -> Job:
        """attempts + 1. Raises ``StaleJob``."""
        with self._transaction() as connection:
            return self._write(connection, sql.BEGIN, job)

    def forgive(self, job: Job) -> None:
        """attempts - 1, never below 0. Raises ``StaleJob``."""
        with self._transaction() as connection:
            self._write(connection, sql.FORGIVE, job)

    def note(self, job: Job) -> Job:
        """Write the job's facts without moving it. Raises ``StaleJob``."""
        with self._transaction() as connection:
            return self._write(connection, sql.NOTE, job, new_facts=facts_text(job.facts))

    def settle(self, job: Job) -> Job:
        """``note`` and ``forgive`` at once. Raises ``StaleJob``."""
        with self._transaction() as connection:
            return self._write(connection, sql.SETTLE, job, new_facts=facts_text(job.facts))

    def commit(self, before: Job, after: Job, because: Trigger, files: Sequence[StoredFile] = ()) -> Job:
        """Write the move, its history, its files and its status for the API at once. Raises ``StaleJob``."""
        with self._transaction() as connection:
            row = self._write(connection, sql.MOVE, before, **moved_columns(after, because))
            connection.execute(sql.ADD_MOVE, move(before, after, because, row.updated_at))
            if queued := after.told is not before.told:
                self._queue(connection, after)
            if files:
                connection.execute(sql.KEEP_FILE, file_rows(row, files))
            if because is Trigger.LOST:
                connection.execute(sql.FORGET_FILES, {"of_key": before.key})
        self._announce(queued)
        return row

    def files(self, job: Job, direction: str) -> list[StoredFile]:
        """The job's files that are whole, ``down`` or ``up``."""
        rows = self._read(sql.FILES, of_key=job.key, of_direction=direction)
        return [StoredFile.model_validate(row._asdict()) for row in rows]

    def record_file(self, job: Job, file: StoredFile) -> None:
        """``record_files`` with a single one."""
        self.record_files(job, [file])

    def record_files(self, job: Job, files: Sequence[StoredFile]) -> None:
        """Note files as done; counts as progress (attempts = 0). Raises ``StaleJob``: then none is noted."""
        with self._transaction() as connection:
            row = self._write(connection, sql.PROGRESS, job)
            connection.execute(sql.KEEP_FILE, file_rows(row, files))

    def unsent(self, limit: int = 1000) -> list[StatusUpdate]:
        """The oldest unsent update of each job that has one, except jobs that are gone; oldest first."""
        updates = self._unsent(limit)
        if any(update.followed and update.id in self._acknowledged for update in updates):
            self.catch_up()  # were that mark lost, a later life would tell the two in another order
            updates = self._unsent(limit)
        return [update for update in updates if update.id not in self._acknowledged]

    def count_unsent(self) -> int:
        """How many statuses the API has yet to hear, except of jobs that are gone."""
        count = int(self._read(sql.COUNT_UNSENT, of_worker=self._worker)[0][0])
        return max(0, count - len(self._acknowledged))

    def next_unsent(self, job_key: int) -> StatusUpdate | None:
        """The job's oldest unsent update; None if there is none, or the job is gone."""
        updates = map(update_from, self._read(sql.NEXT_UNSENT, of_key=job_key))
        return next((update for update in updates if update.id not in self._acknowledged), None)

    def mark_sent(self, update: StatusUpdate) -> None:
        """The API has acknowledged the update."""
        with self._transaction() as connection:
            connection.execute(sql.SENT, {"of_id": update.id, "now": self._clock()})

    def acknowledged(self, update: StatusUpdate) -> None:
        """``mark_sent`` along with the next write; see ``states.ports.Store.acknowledged``."""
        self._acknowledged[update.id] = self._clock()

    def catch_up(self) -> None:
        """Write what waits for the next write."""
        if self._acknowledged:
            with self._transaction():
                pass

    @property
    def is_behind(self) -> bool:
        """Something waits for the next write."""
        return bool(self._acknowledged)

    def mark_gone(self, key: int) -> None:
        """The API answered 404: nothing of this job will be sent any more. Durable on return."""
        with self._transaction() as connection:
            connection.execute(sql.GONE, {"of_key": key})

    def reported(self, key: int) -> bool:
        """The job has ended, and the API has heard all it is to hear of it."""
        return bool(self._read(sql.REPORTED, of_key=key))

    def ended_unreported(self) -> list[Job]:
        """Jobs that have ended while the API has yet to hear of it, oldest first."""
        return self._jobs(sql.UNREPORTED)

    def sweepable(self, limit: int = 1000, keep_seconds: float = 0.0) -> list[Job]:
        """Jobs that have ended, are reported and not yet marked as swept, oldest first.

        Nothing must have happened to them for ``keep_seconds``, except to those that are gone. Left out are
        jobs that an open request is about.
        """
        ended_by = self._clock() - keep_seconds
        return self._jobs(sql.SWEEPABLE, at_most=limit, ended_by=ended_by)

    def unswept(self) -> list[Job]:
        """Jobs that have ended and are not marked as swept, reported or not, oldest first."""
        return self._jobs(sql.UNSWEPT)

    def count_past(self, seconds: float) -> dict[str, int]:
        """How many rows ``forget_past`` would delete, by table, were every ended job swept."""
        values = {"of_worker": self._worker, "ended_by": self._clock() - seconds}
        return {name: int(self._read(count, **values)[0][0]) for name, count in sql.COUNT_PAST.items()}

    def forget_past(self, seconds: float) -> dict[str, int]:
        """Delete all rows of jobs that ended that long ago, are reported and swept; returns their numbers.

        A lease that the API delivers again is recognised by its row: be generous.
        """
        values = {"of_worker": self._worker, "ended_by": self._clock() - seconds}
        with self._transaction() as connection:
            return {
                name: connection.execute(forget, values).rowcount for name, forget in sql.FORGET_PAST.items()
            }

    def mark_swept(self, key: int) -> None:
        """Nothing of the job is left on this machine."""
        with self._transaction() as connection:
            connection.execute(sql.SWEPT, {"of_key": key, "now": self._clock()})

    def history(self, key: int) -> list[MoveRow]:
        """The job's moves, oldest first."""
        return [MoveRow(**row._asdict()) for row in self._read(sql.HISTORY, of_key=key)]

    def outbox(self, key: int) -> list[OutboxRow]:
        """The job's statuses for the API, sent and unsent, oldest first."""
        return [OutboxRow(**row._asdict()) for row in self._read(sql.OUTBOX, of_key=key)]

    def _take(self, connection: Connection, spec: JobSpec) -> tuple[Job, bool]:
        """The job of the lease, and whether a status was queued for it."""
        lease = {"of_worker": self._worker, "of_lease": plain(spec.lease)}
        row = connection.execute(sql.LATEST, lease).first()
        if row is None:
            return self._insert(connection, spec, delivery=1), True
        job = job_from(row)
        if job.gone or job.state is JobState.CANCELLED:
            return self._insert(connection, spec, delivery=job.delivery + 1), True
        return job, job.state not in LIVE and self._queue_again(connection, job)

    def _insert(self, connection: Connection, spec: JobSpec, delivery: int) -> Job:
        columns = new_job(self._worker, spec, delivery, self._clock())
        job = job_from(connection.execute(sql.ADD_JOB, columns).one())
        connection.execute(sql.ADD_MOVE, first_move(job))
        self._queue(connection, job)
        return job

    def _queue_again(self, connection: Connection, job: Job) -> bool:
        if connection.execute(sql.ANY_UNSENT, {"of_key": job.key}).first() is not None:
            return False
        self._queue(connection, job)
        return True

    def _queue(self, connection: Connection, job: Job) -> None:
        status, detail = told(job)
        columns = {"job_key": job.key, "status": status, "detail": detail, "queued_at": self._clock()}
        connection.execute(sql.QUEUE, columns)

    def _write(self, connection: Connection, statement: Update, job: Job, **values: object) -> Job:
        """The only UPDATE of what ``version`` guards. Returns the job as its row is now."""
        guard = {"of_key": job.key, "of_version": job.version, "now": self._clock()}
        row: Row[Any] | None = connection.execute(statement, {**guard, **values}).first()
        if row is None:
            raise StaleJob(f"Job {job.id} (key {job.key}) is no longer at version {job.version}.")
        return refreshed(job, row)

    def _unsent(self, limit: int) -> list[StatusUpdate]:
        rows = self._read(sql.UNSENT, of_worker=self._worker, at_most=limit)
        return [update_from(row, followed=row.last > row.id) for row in rows]

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        in_turn = self._writing.call(self.check_file)
        with self.reserve.noting(), translating(self.path), in_turn as connection:
            marks = dict(self._acknowledged)
            if marks:
                connection.execute(sql.SENT, [{"of_id": of_id, "now": at} for of_id, at in marks.items()])
            yield connection
        for of_id in marks:
            self._acknowledged.pop(of_id, None)

    def _jobs(self, statement: Select[Any], **values: object) -> list[Job]:
        return [job_from(row) for row in self._read(statement, of_worker=self._worker, **values)]

    def _read(self, statement: Select[Any], **values: object) -> list[Row[Any]]:
        with translating(self.path), self._reading.connect() as connection:
            return list(connection.execute(statement, values).all())

    def _announce(self, queued: bool) -> None:
        if queued and self._on_queued is not None:
            self._on_queued()

    def _inode_now(self) -> tuple[int, int]:
        # Never by opening it: closing any descriptor of the file would drop SQLite's locks on it.
        found = self.path.stat()
        return found.st_dev, found.st_ino
