"""``ModelApi``: the service's queue and leases, with its rules from ``docs/mock-api.md``, and no wire."""

from dataclasses import dataclass

from jobfetcher.api.errors import NotFound, ServerError, Unreachable
from states.job import ApiStatus
from states.ports import Resources
from states.spec import JobSpec

OURS, RIVAL = "ours", "rival"
LEASED = frozenset({ApiStatus.PULLED, ApiStatus.PREPROCESSING, ApiStatus.RUNNING, ApiStatus.POSTPROCESSING})


JOBS = 3
"""Open at a time, at most."""
EVENTS = (
    *("submitted", "submitted", "user deletes", "queued again", "queued again", "rival takes"),
    *("answer is lost", "API fails"),
)
"""What may befall it; what is named twice happens more often."""


@dataclass
class Row:
    """A job as the service knows it."""

    id: str
    submission: int
    status: ApiStatus = ApiStatus.QUEUED
    account: str | None = None
    lease: int = 0
    deleted: bool = False

    @property
    def open(self) -> bool:
        """Somebody still waits for it."""
        return not self.deleted and self.status.rank < ApiStatus.FINISHED.rank

    def spec(self) -> JobSpec:
        meta = {"job_id": self.submission, "date_created": f"day {self.submission}"}
        raw = {"app": {}, "handler": {"image_url": "img"}, "meta": meta, "hardware": {}}
        return JobSpec.parse(self.id, raw)


class ModelApi:
    """Ids are given as SQLite gives them: one above the highest that is there."""

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}
        self.furthest: dict[tuple[int, int], ApiStatus] = {}
        """The last status that was stored for our account, by submission and lease."""
        self.disorder: list[str] = []
        """Statuses that came in no legal order."""
        self.loses_next = False
        """The next answer gets lost on its way."""
        self.failures = 0
        """So many calls are answered with 500."""
        self._submissions = 0

    def befall(self, what: str, pick: int) -> None:
        """One of ``EVENTS``, to one of the jobs that it can happen to."""
        if what == "submitted":
            self.submit()
        elif what == "answer is lost":
            self.loses_next = True
        elif what == "API fails":
            self.failures = 1 + pick
        elif found := self._affected(what):
            self._change(found[pick % len(found)], what)

    def _affected(self, what: str) -> list[Row]:
        if what == "user deletes":
            return [row for row in self.rows.values() if not row.deleted]
        wanted = LEASED if what == "queued again" else {ApiStatus.QUEUED}
        return [row for row in self.rows.values() if row.status in wanted]

    def _change(self, row: Row, what: str) -> None:
        if what == "user deletes":
            row.deleted = True
        elif what == "queued again":
            self.time_out(row)
        else:
            self._pull(row, RIVAL)

    def submit(self) -> None:
        if sum(row.open for row in self.rows.values()) >= JOBS:
            return
        self._submissions += 1
        number = str(max((int(one) for one in self.rows), default=0) + 1)
        self.rows[number] = Row(number, self._submissions)

    def fetch_jobs(self, resources: Resources, limit: int = 1) -> list[JobSpec]:
        self._fail()
        for row in [row for row in self.rows.values() if row.deleted and row.status is ApiStatus.QUEUED]:
            del self.rows[row.id]
        queued = [row for row in self.rows.values() if row.status is ApiStatus.QUEUED][:limit]
        for row in queued:
            self._pull(row, OURS)
        self._lose()
        return [row.spec() for row in queued]

    def put_status(self, job_id: str, status: ApiStatus, detail: str = "") -> None:
        self._fail()
        row = self.rows.get(job_id)
        if row is None:
            raise ServerError("PUT status", 500)
        if row.account == OURS and not row.deleted:
            row.status = status
            self._hear(row, status)
            return self._lose()
        if row.account == OURS:
            del self.rows[job_id]
        self._lose()
        raise NotFound("PUT status", 404)

    def job_status(self, job_id: str) -> str:
        self._fail()
        if job_id not in self.rows:
            raise NotFound("GET status", 404)
        return self.rows[job_id].status.value

    def may_upload(self, job_id: str) -> bool:
        row = self.rows.get(job_id)
        return row is not None and row.account == OURS and not row.deleted

    def time_out(self, row: Row) -> None:
        """It was silent for too long: somebody may have it again."""
        row.status = ApiStatus.QUEUED
        if row.deleted:
            del self.rows[row.id]

    def _pull(self, row: Row, account: str) -> None:
        row.status, row.account, row.lease = ApiStatus.PULLED, account, row.lease + 1

    def _hear(self, row: Row, status: ApiStatus) -> None:
        before = self.furthest.get((row.submission, row.lease), status)
        another_end = before.rank == ApiStatus.FINISHED.rank and status is not before
        if status.rank < before.rank or another_end:
            self.disorder.append(f"job {row.id}: {status} after {before} within a lease")
        self.furthest[row.submission, row.lease] = status

    def _fail(self) -> None:
        if self.failures:
            self.failures -= 1
            raise ServerError("call", 500)

    def _lose(self) -> None:
        if self.loses_next:
            self.loses_next = False
            raise Unreachable("call", "the answer was lost", sent=True)
