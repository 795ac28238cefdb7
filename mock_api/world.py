"""The service's memory and its rules. Knows no HTTP: routes ask it and put its answer on the wire.

Every public method takes the one lock. What it records carries the answer that the rules gave;
``settled`` says afterwards which answer the caller really got.
"""

import threading
import time
from collections.abc import Callable
from typing import Any

from mock_api.accounts import Account, Accounts, Clock
from mock_api.models import JobStates
from mock_api.records import Event, JobView, Violation
from mock_api.rows import Offer, Row, Rules
from mock_api.watch import Finding, Watch

_LEASED = (JobStates.PULLED, JobStates.PREPROCESSING, JobStates.RUNNING, JobStates.POSTPROCESSING)


class World:
    """All that the service knows."""

    def __init__(
        self,
        rules: Rules | None = None,
        clock: Clock = time.time,
        accounts: Callable[[Clock], Accounts] = Accounts,
    ) -> None:
        self.rules = rules or Rules()
        self._wall = clock
        self._ahead = 0.0
        self._lock = threading.RLock()
        self.accounts = accounts(self.now)
        self._clear()

    def _clear(self) -> None:
        self._rows: dict[int, Row] = {}
        self._events: list[Event] = []
        self._violations: list[Violation] = []
        self._watch = Watch()
        self._submissions = 0

    def reset(self) -> None:
        """Forget jobs, events and violations; accounts and rules stay."""
        with self._lock:
            self._clear()

    def now(self) -> float:
        """Seconds since the epoch, plus what ``advance`` added."""
        return self._wall() + self._ahead

    def advance(self, seconds: float) -> None:
        """Move the mock's clock forward."""
        with self._lock:
            self._ahead += seconds

    def caller(self, token: str) -> Account:
        with self._lock:
            return self.accounts.caller(token)

    def log_in(self, name: str, password: str) -> tuple[str, str]:
        """A new ID token and a refresh token; ``LoginRefused``."""
        with self._lock:
            return self.accounts.log_in(name, password)

    def renew(self, refresh: str) -> str:
        """A new ID token; ``LoginRefused``."""
        with self._lock:
            return self.accounts.renew(refresh)

    def expire_tokens(self, refresh_too: bool = False) -> None:
        """End all issued tokens now."""
        with self._lock:
            self.accounts.expire(refresh_too)

    def add_account(self, account: Account, token: str | None = None) -> None:
        with self._lock:
            self.accounts.add(account, token)

    # What the user does

    def submit(
        self,
        job: dict[str, Any],
        environment: str | None = None,
        group: str | None = None,
        priority: int = 5,
    ) -> int:
        """Queue a job and return its id: one above the highest that is there, as SQLite gives it."""
        with self._lock:
            self._submissions += 1
            now = self.now()
            job_id = max(self._rows, default=0) + 1
            row = Row(job_id, self._submissions, job, environment, group, priority, now, now)
            self._rows[job_id] = row
            self._record("queued", row)
            return job_id

    def delete(self, job_id: int) -> bool:
        """The user deletes the job; False if there is none. The row stays until the next PUT."""
        with self._lock:
            row = self._rows.get(job_id)
            if row is None or row.deleted:
                return False
            row.deleted = True
            self._record("deleted", row)
            return True

    # What workers do

    def pull(self, offer: Offer, account: Account) -> tuple[dict[int, dict[str, Any]], list[Event]]:
        """Take jobs that fit out of the queue, own groups' first, then by priority and age."""
        with self._lock:
            self._forget_deleted_in_queue()
            rows = [row for row in self._rows.values() if self._offered(row, offer, account)]
            rows.sort(key=lambda row: (row.group not in offer.groups, -row.priority, row.submission))
            events = [self._lease(row, account) for row in rows[: max(offer.limit, 0)]]
            return {event.id: self._rows[event.id].job for event in events if event.id is not None}, events

    def _forget_deleted_in_queue(self) -> None:
        for row in list(self._rows.values()):
            if row.deleted and row.status is JobStates.QUEUED and row.account is None:
                del self._rows[row.id]

    def _offered(self, row: Row, offer: Offer, account: Account) -> bool:
        if row.status is not JobStates.QUEUED or row.deleted or not row.fits(offer):
            return False
        if self.rules.retry_different and account.name in row.had_by:
            return False
        if row.environment is None:
            return row.created_at <= self.now() - offer.older_than
        return row.environment == account.environment

    def _lease(self, row: Row, account: Account) -> Event:
        row.status = JobStates.PULLED
        row.account = account.name
        row.had_by.add(account.name)
        row.lease += 1
        row.updated_at = self.now()
        self._watch.pulled(row.id, account.name)
        return self._record("pulled", row, code=200)

    def take(self, job_id: int, account: str) -> bool:
        """Another account pulls exactly this job, whatever it offers; False if it is not queued."""
        with self._lock:
            row = self._rows.get(job_id)
            if row is None or row.status is not JobStates.QUEUED:
                return False
            self._lease(row, Account(account))
            return True

    def put_status(self, job_id: int, status: JobStates, detail: str | None, account: str) -> Event:
        """Store a status. The event's ``code`` is the answer: 204, 404 or 500."""
        with self._lock:
            row = self._rows.get(job_id)
            self._blame(self._watch.status(job_id, account, status, detail), job_id, account)
            code = self._stored(row, status, detail, account)
            event = self._record("status", row, code=code, detail=detail)
            event.id, event.account, event.status = job_id, account, status
            return event

    def _stored(self, row: Row | None, status: JobStates, detail: str | None, account: str) -> int:
        if row is None or "\0" in (detail or ""):
            return 500
        if row.account != account:
            return 404
        if row.deleted:
            del self._rows[row.id]
            return 404
        row.status = status
        row.updated_at = self.now()
        if detail:
            row.details.append(detail)
        return 204

    def status(self, job_id: int) -> JobStates | None:
        """None: unknown."""
        with self._lock:
            row = self._rows.get(job_id)
            return None if row is None else row.status

    def may_upload(self, job_id: int, account: str) -> bool:
        """Whether the API answers upload requests for this job (if not: with 500)."""
        with self._lock:
            row = self._rows.get(job_id)
            return row is not None and not row.deleted and row.account == account

    # What the service does by itself

    def scan(self) -> list[int]:
        """Queue again what has been silent for too long, and return the ids."""
        with self._lock:
            limit = self.now() - self.rules.timeout_failure
            silent = [r for r in self._rows.values() if r.status in _LEASED and r.updated_at < limit]
            for row in silent:
                self._time_out(row)
            return [row.id for row in silent]

    def _time_out(self, row: Row) -> None:
        row.updated_at = self.now()
        if row.deleted:
            del self._rows[row.id]
        elif row.retries >= self.rules.max_retries:
            row.status = JobStates.ERROR
            self._record("given_up", row)
        else:
            row.retries += 1
            row.status = JobStates.QUEUED
            self._record("requeued", row)

    # What is remembered

    def note(self, kind: str, account: str, job_id: int | None, detail: str, code: int) -> Event:
        """Record what is done with a file. ``job_id`` None: the leased job that lists the file id."""
        with self._lock:
            row = self._lists(detail, account) if job_id is None else self._rows.get(job_id)
            event = self._record(kind, row, code=code, detail=detail)
            event.account = account
            event.id = row.id if row else job_id
            return event

    def note_upload(self, account: str, job_id: int, detail: str, code: int, began: float) -> Event:
        """Record an upload that began to arrive at ``began``."""
        with self._lock:
            self._blame(self._watch.upload(job_id, account, began), job_id, account)
            return self.note("upload", account, job_id, detail, code)

    def _lists(self, file_id: str, account: str) -> Row | None:
        for row in self._rows.values():
            if row.account == account and _key(file_id) in map(_key, _inputs(row.job)):
                return row
        return None

    def settled(self, event: Event, answered: int | None) -> None:
        """Which answer left on the wire; None: none did."""
        with self._lock:
            event.answered = answered
            if event.kind != "status" or answered != event.code:
                return
            self._watch.answered(event, JobStates(event.status or ""), self.now())

    def blame(self, rule: str, sentence: str, job_id: int | None = None, account: str | None = None) -> None:
        """Record a violation."""
        with self._lock:
            self._blame([(rule, sentence)], job_id, account)

    def _blame(self, findings: list[Finding], job_id: int | None, account: str | None) -> None:
        now = self.now()
        self._violations += [Violation(rule, now, job_id, account, text) for rule, text in findings]

    def _record(
        self, kind: str, row: Row | None, code: int | None = None, detail: str | None = None
    ) -> Event:
        event = Event(len(self._events) + 1, self.now(), kind, code=code, detail=detail)
        if row is not None:
            event.id, event.submission, event.lease = row.id, row.submission, row.lease
            event.account, event.status = row.account, row.status
        self._events.append(event)
        return event

    def timeline(self, job_id: int | None = None) -> list[Event]:
        """Every event, or those of one job id, in order."""
        with self._lock:
            return [event for event in self._events if job_id in (None, event.id)]

    def violations(self) -> list[Violation]:
        with self._lock:
            return list(self._violations)

    def jobs(self) -> list[JobView]:
        with self._lock:
            return [row.view() for row in self._rows.values()]

    def submission(self, job_id: int) -> tuple[int, int]:
        """The job's submission and lease; zeros if it is unknown."""
        with self._lock:
            row = self._rows.get(job_id)
            return (0, 0) if row is None else (row.submission, row.lease)


def _inputs(job: dict[str, Any]) -> list[str]:
    handler = job.get("handler")
    files = handler.get("files_down") if isinstance(handler, dict) else None
    return list(files.values()) if isinstance(files, dict) else []


def _key(file_id: object) -> str:
    return str(file_id).removeprefix("s3://").lstrip("/")
