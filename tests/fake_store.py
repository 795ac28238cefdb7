"""``FakeStore``: ``states.ports.Store`` in memory. The contract suite holds it to what ``SqlStore`` does."""

from collections.abc import Callable, Sequence
from threading import RLock

from states.errors import StaleJob
from states.job import ApiStatus, Job, JobState, StatusUpdate, Trigger
from states.ports import StoredFile
from states.spec import JobSpec
from states.table import LIVE


class FakeStore:
    """Remembers everything, in the open: ``jobs``, ``moves``, ``queued``, ``sent``."""

    def __init__(self, worker: str = "w", on_queued: Callable[[], None] = lambda: None) -> None:
        self.jobs: dict[int, Job] = {}
        self.moves: list[tuple[int, JobState | None, JobState, Trigger | None]] = []
        self.queued: list[StatusUpdate] = []
        self.sent: set[int] = set()
        self._acknowledged: set[int] = set()
        self._files: dict[tuple[int, str, str, str], StoredFile] = {}
        self._worker = worker
        self._on_queued = on_queued
        self._lock = RLock()

    def add(self, spec: JobSpec) -> Job:
        return self.add_all([spec])[0]

    def add_all(self, specs: list[JobSpec]) -> list[Job]:
        before = len(self.queued)
        with self._lock:
            jobs = [self._take(spec) for spec in specs]
        if len(self.queued) > before:
            self._on_queued()
        return jobs

    def get(self, key: int) -> Job:
        return self.jobs[key]

    def live(self) -> list[Job]:
        return [job for job in self.jobs.values() if job.state in LIVE]

    def begin(self, job: Job) -> Job:
        return self._write(job, attempts=self.get(job.key).attempts + 1)

    def forgive(self, job: Job) -> None:
        self._write(job, attempts=max(self.get(job.key).attempts - 1, 0))

    def note(self, job: Job) -> Job:
        return self._write(job, facts=job.facts)

    def settle(self, job: Job) -> Job:
        return self._write(job, facts=job.facts, attempts=max(self.get(job.key).attempts - 1, 0))

    def commit(self, before: Job, after: Job, because: Trigger, files: Sequence[StoredFile] = ()) -> Job:
        with self._lock:
            gone = self.get(before.key).gone or because is Trigger.GONE
            changes = {name: getattr(after, name) for name in ("state", "attempts", "run", "told", "facts")}
            job = self._write(before, **changes, gone=gone, version=before.version + 1)
            self.moves.append((job.key, before.state, after.state, because))
            self._keep(job.key, files)
            if because is Trigger.LOST:
                self._files = {at: file for at, file in self._files.items() if at[0] != job.key}
            if after.told is not before.told:
                self._queue(job)
                self._on_queued()
        return job

    def files(self, job: Job, direction: str) -> list[StoredFile]:
        return [self._files[at] for at in sorted(self._files) if at[:2] == (job.key, direction)]

    def record_file(self, job: Job, file: StoredFile) -> None:
        self.record_files(job, [file])

    def record_files(self, job: Job, files: Sequence[StoredFile]) -> None:
        with self._lock:
            self._write(job, attempts=0)
            self._keep(job.key, files)

    def unsent(self, limit: int = 1000) -> list[StatusUpdate]:
        waiting = [update for update in self._waiting() if not self.jobs[update.job_key].gone]
        left = [update for update in waiting if update.id not in self._acknowledged]
        if {update.job_key for update in left} & {u.job_key for u in waiting if u.id in self._acknowledged}:
            self.catch_up()
        oldest = {update.job_key: update for update in reversed(left)}
        newest = {update.job_key: update for update in left}
        told = [u.model_copy(update={"followed": newest[u.job_key] is not u}) for u in oldest.values()]
        return sorted(told, key=lambda update: update.id)[:limit]

    def mark_sent(self, update: StatusUpdate) -> None:
        self.sent.add(update.id)

    def acknowledged(self, update: StatusUpdate) -> None:
        self._acknowledged.add(update.id)

    def catch_up(self) -> None:
        self.sent |= self._acknowledged
        self._acknowledged.clear()

    @property
    def is_behind(self) -> bool:
        return bool(self._acknowledged)

    def die(self) -> None:
        """What a process had only in memory goes with it."""
        self._acknowledged.clear()

    def mark_gone(self, key: int) -> None:
        with self._lock:
            self.jobs[key] = self.jobs[key].model_copy(update={"gone": True})

    def reported(self, key: int) -> bool:
        job = self.jobs[key]
        return job.state not in LIVE and (job.gone or all(key != u.job_key for u in self._waiting()))

    def _take(self, spec: JobSpec) -> Job:
        known = [job for job in self.jobs.values() if job.spec.lease == spec.lease]
        if not known or known[-1].gone:
            return self._insert(spec, delivery=len(known) + 1)
        job = known[-1]
        if job.state not in LIVE and self.reported(job.key):
            self._queue(job)
        return job

    def _insert(self, spec: JobSpec, delivery: int) -> Job:
        job = Job(key=len(self.jobs) + 1, worker=self._worker, spec=spec, delivery=delivery)
        self.jobs[job.key] = job
        self.moves.append((job.key, None, job.state, None))
        self._queue(job)
        return job

    def _queue(self, job: Job) -> None:
        detail = job.facts.detail if job.told is ApiStatus.ERROR else ""
        number = len(self.queued) + 1
        self.queued.append(
            StatusUpdate(id=number, job_key=job.key, job_id=job.id, status=job.told, detail=detail)
        )

    def _waiting(self) -> list[StatusUpdate]:
        return [update for update in self.queued if update.id not in self.sent]

    def _keep(self, key: int, files: Sequence[StoredFile]) -> None:
        self._files |= {(key, file.direction, file.kind, file.path): file for file in files}

    def _write(self, job: Job, **changes: object) -> Job:
        with self._lock:
            if self.jobs[job.key].version != job.version:
                raise StaleJob(job.key)
            self.catch_up()
            self.jobs[job.key] = self.jobs[job.key].model_copy(update=changes)
            return self.jobs[job.key]
