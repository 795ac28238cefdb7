"""One worker of a fleet: the shipped reporter, retries and pace, without disk, engine and threads."""

import random
from dataclasses import dataclass, field
from typing import cast

from bench.virtual import Life, Line, Service, Sleeper, VirtualClock
from jobfetcher.api.errors import ApiError
from jobfetcher.api.retries import RetryingApi
from jobfetcher.pace import Pace, Random, pause_backoff
from jobfetcher.reporter import Reporter
from jobfetcher.settings import Settings
from persistence.store import SqlStore
from states.errors import Paused
from states.job import ApiStatus, Job, JobState, StatusUpdate
from states.ports import Api, FileRequest, Resources
from states.spec import FileType, JobSpec

PERIOD = float(Settings.model_fields["timeout_job"].default)
KEEP_ALIVE = float(Settings.model_fields["timeout_status"].default)
_HERE = Resources(memory=1)
_FILE = FileRequest(method="get", url="http://x")


@dataclass(frozen=True)
class Work:
    """What the jobs are like. Times in seconds."""

    shortest: float = 300
    longest: float = 900
    """A container runs for a time between these."""
    transfer: float = 20
    """The longest time for the files of one direction; the shortest is none."""
    inputs: int = 3
    outputs: int = 3
    """Folders with outputs, the container's log among them: one request each."""


@dataclass(frozen=True)
class Habits:
    """What all workers of a fleet have in common."""

    work: Work | None = None
    """None: there are no jobs. Else there are always more."""
    period: float = PERIOD
    keep_alive: float = KEEP_ALIVE
    random: Random = random.random
    """Scatters polls and keep-alives."""


class _Asked:
    """``states.ports.Api`` over one thread's line."""

    def __init__(self, line: Line, has_jobs: bool) -> None:
        self._line = line
        self._has_jobs = has_jobs
        self.confirmed = False
        """The API has acknowledged a status of the present job."""

    def fetch_jobs(self, resources: Resources, limit: int = 1) -> list[JobSpec]:
        self._line.ask("polls")
        return [_SPEC] if self._has_jobs else []

    def put_status(self, job_id: str, status: ApiStatus, detail: str = "") -> None:
        self._line.ask("statuses and keep-alives")
        self.confirmed = True

    def job_status(self, job_id: str) -> str:
        return "running"

    def download_request(self, file_id: str) -> FileRequest:
        self._line.ask("files")
        return _FILE

    def upload_request(self, job_id: str, kind: FileType, base_path: str) -> FileRequest:
        self._line.ask("files")
        return _FILE


_SPEC = JobSpec.parse(
    "1", {"app": {}, "handler": {"image_url": "x"}, "meta": {"job_id": 1, "date_created": ""}, "hardware": {}}
)


@dataclass
class _Outbox:
    """As much of the store as the reporter uses: jobs that are not over, and what is to be told of them."""

    jobs: dict[int, Job] = field(default_factory=dict)
    waiting: list[StatusUpdate] = field(default_factory=list)
    told: int = 0

    def get(self, key: int) -> Job:
        return self.jobs[key]

    def unsent(self) -> list[StatusUpdate]:
        oldest = {update.job_key: update for update in reversed(self.waiting)}
        newest = {update.job_key: update for update in self.waiting}
        return [u.model_copy(update={"followed": newest[u.job_key] is not u}) for u in oldest.values()]

    def next_unsent(self, key: int) -> StatusUpdate | None:
        return next((update for update in self.waiting if update.job_key == key), None)

    def mark_sent(self, update: StatusUpdate) -> None:
        self.waiting = [waiting for waiting in self.waiting if waiting.id != update.id]
        if update.status is ApiStatus.FINISHED:
            del self.jobs[update.job_key]

    def acknowledged(self, update: StatusUpdate) -> None:
        self.mark_sent(update)

    def catch_up(self) -> None:
        """Nothing waits: a mark costs nothing here."""

    is_behind = False

    def tell(self, key: int, state: JobState, status: ApiStatus) -> None:
        """The job has moved, and the API is to hear of it."""
        self.told += 1
        self.jobs[key] = self.jobs[key].moved_to(state, status)
        self.waiting.append(StatusUpdate(id=self.told, job_key=key, job_id=_SPEC.id, status=status))


class FleetWorker:
    """Two lives on the clock: one fetches and does jobs, the other reports."""

    def __init__(self, clock: VirtualClock, service: Service, habits: Habits, busy: bool) -> None:
        """``busy``: it has a job from before, in the middle of its run."""
        self._habits = habits
        self._busy = busy
        self._line, self._reports = Line(clock, service), Line(clock, service)
        self._api = _Asked(self._line, habits.work is not None)
        self._told = _Asked(self._reports, has_jobs=False)
        self._files = RetryingApi(cast(Api, self._api), stop=self._line)
        self._outbox = _Outbox()
        self._reporter = Reporter(
            cast(Api, self._told),
            cast(SqlStore, self._outbox),
            habits.keep_alive,
            on_gone=lambda _: None,
            clock=self._reports.now,
            random=habits.random,
        )
        self._working = Sleeper(clock, self._work_on())
        self._reporting = Sleeper(clock, self._report())
        self._jobs = 0

    def start(self, after: float) -> None:
        """Start it so many seconds from now."""
        self._working.wake(after)

    def _report(self) -> Life:
        while True:
            wait = self._reporter.turn()
            if self._told.confirmed and not self._working.alarm:
                self._working.wake()
            yield self._reports.rest(wait) if self._outbox.jobs else None

    def _work_on(self) -> Life:
        pace = Pace(self._habits.period, self._habits.random)
        if self._busy and self._habits.work:
            yield from self._job(self._habits.work, resumed=True)
        while True:
            found = False
            try:
                found = bool(self._api.fetch_jobs(_HERE))
                wait = pace.answered(found)
            except ApiError as error:
                wait = pace.failed(error)
            if found and self._habits.work:
                yield from self._job(self._habits.work, resumed=False)
            yield self._line.rest(wait)

    def _job(self, work: Work, resumed: bool) -> Life:
        self._jobs += 1
        key, self._told.confirmed = self._jobs, False
        self._outbox.jobs[key] = Job(key=key, worker="w", spec=_SPEC)
        if resumed:
            job = self._outbox.jobs[key].moved_to(JobState.RUNNING, ApiStatus.RUNNING)
            self._outbox.jobs[key] = job
        else:
            self._outbox.tell(key, JobState.FETCHED, ApiStatus.PREPROCESSING)
        self._reporter.watch(self._outbox.jobs[key])
        self._reporting.wake()
        while not self._told.confirmed:
            yield None
        if not resumed:
            yield from self._move(work.inputs, work.transfer)
            self._tell(key, JobState.RUNNING, ApiStatus.RUNNING)
        yield random.uniform(work.shortest, work.longest) * (random.random() if resumed else 1)
        self._tell(key, JobState.UPLOADING, ApiStatus.POSTPROCESSING)
        yield from self._move(work.outputs, work.transfer)
        self._tell(key, JobState.FINISHED, ApiStatus.FINISHED)

    def _tell(self, key: int, state: JobState, status: ApiStatus) -> None:
        self._outbox.tell(key, state, status)
        self._reporting.wake()

    def _move(self, requests: int, seconds: float) -> Life:
        """Ask for the requests of some files, over as many pauses as it takes, and move the files."""
        backoff = pause_backoff(self._habits.random)
        while requests:
            try:
                self._files.download_request("")
                requests -= 1
            except Paused:
                self._line.wait(next(backoff))
        yield self._line.rest(random.random() * seconds)
