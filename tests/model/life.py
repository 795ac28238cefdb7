"""One life of the worker, in one thread: the real loop, reporter, sweeper and container runner.

Where the worker would wait, a call raises ``Paused``, and the rule that let it work is over.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobfetcher.api.errors import ApiError, NotFound
from jobfetcher.control import Control
from jobfetcher.reporter import Reporter
from jobfetcher.runners.config import Limits
from jobfetcher.runners.containers import ContainerRunner
from jobfetcher.runners.images import Images
from jobfetcher.stop import StopSignal
from jobfetcher.sweeper import Sweeper
from jobfetcher.tools import JobTools
from jobfetcher.worker import Intake, Worker
from persistence.requests import Answer, Effect, Request
from states.advance import advance
from states.errors import Paused, StaleJob
from states.job import ApiStatus, Job, StatusUpdate
from states.ports import Resources, Stop, StoredFile, Uploaded
from states.table import LIVE, TERMINAL
from tests.crash_injection import CrashPoints, SimulatedCrash
from tests.fake_store import FakeStore
from tests.model.engine import ModelEngine, ModelWatch
from tests.model.service import ModelApi

KEEP_ALIVE = 10.0


class ModelStore(FakeStore):
    """``FakeStore`` with what reporter and sweeper ask besides."""

    def __init__(self) -> None:
        super().__init__()
        self.swept: set[int] = set()

    def next_unsent(self, key: int) -> StatusUpdate | None:
        return next((update for update in self.unsent() if update.job_key == key), None)

    def sweepable(self, limit: int = 1000, keep_seconds: float = 0.0) -> list[Job]:
        return [job for job in self.jobs.values() if self.reported(job.key) and job.key not in self.swept]

    def unswept(self) -> list[Job]:
        return [job for job in self.jobs.values() if job.state not in LIVE and job.key not in self.swept]

    def mark_swept(self, key: int) -> None:
        self.swept.add(key)

    def find(self, api_id: str) -> list[Job]:
        return [job for job in reversed(self.jobs.values()) if job.id == api_id]


class ModelDesk:
    """What operators asked, and what they were told."""

    def __init__(self) -> None:
        self.asked: list[Request] = []
        self.answers: dict[int, Answer] = {}

    def cancel(self, key: int) -> None:
        self.asked.append(Request(len(self.asked) + 1, "cancel", key, {"reason": f"No. {len(self.asked)}"}))

    def waiting(self) -> list[Request]:
        return [request for request in self.asked if request.id not in self.answers]

    def answer(self, request: Request, answer: Answer, effect: Effect) -> None:
        self.answers.setdefault(request.id, answer)

    def flag(self, name: str) -> bool:
        return False

    def cancelled(self) -> list[int]:
        """Keys of the jobs of which an operator was told that they are cancelled."""
        told = {number for number, answer in self.answers.items() if not answer.refused}
        return [request.job_key for request in self.asked if request.id in told and request.job_key]


@dataclass
class World:
    """What survives the worker's death, and what was seen of wrong conduct."""

    api: ModelApi = field(default_factory=ModelApi)
    engine: ModelEngine = field(default_factory=ModelEngine)
    store: ModelStore = field(default_factory=ModelStore)
    desk: ModelDesk = field(default_factory=ModelDesk)
    folders: set[str] = field(default_factory=set)
    now: float = 0.0
    wrong: list[str] = field(default_factory=list)


class Interruptions(CrashPoints):
    """At one of the points something happens: the worker dies, or the world goes on beside it."""

    def __init__(self) -> None:
        super().__init__()
        self._left = 0
        self._what: Callable[[], None] | None = None

    def plan(self, after: int, what: Callable[[], None]) -> None:
        self._left, self._what = after, what

    def point(self, name: str) -> None:
        if self.dead:
            raise SimulatedCrash(name)
        what = self._what
        if what is None:
            return
        self._left -= 1
        if self._left < 0:
            self._what = None
            what()

    def forget(self) -> None:
        self._what = None

    def die(self) -> None:
        self.dead = True
        raise SimulatedCrash


class Life:
    """From a start of the worker to its death."""

    def __init__(self, world: World) -> None:
        self.points = Interruptions()
        self._world = world
        world.store.die()  # the life before
        self._busy: set[str] = set()
        self._at_work: dict[int, StopSignal] = {}
        store: Any = self.points.watched(world.store, "store")
        engine = self.points.watched(world.engine, "engine")
        self._api: Any = self.points.watched(_Watching(world, world.api), "api")
        images = Images(engine, "never")
        watch = ModelWatch(engine, world.engine)
        self._runner = ContainerRunner(engine, "w", lambda folder: folder, images, Limits(), watch=watch)
        self._folders: Any = self.points.watched(_Folders(world), "folders")
        self._reporter = Reporter(self._api, store, KEEP_ALIVE, on_gone=self._gone, clock=lambda: world.now)
        self._sweeper = Sweeper(store, self._runner, self._folders, grace=1)
        intake = Intake(self._api, lambda: Resources(memory=1), lambda: None, 1)
        self._worker = _Stepped(store, intake, self._reporter, self._sweeper, self._tools, places=2)
        self._store = store
        desk: Any = self.points.watched(world.desk, "desk")
        nothing: Any = None
        self._control = Control(desk, store, self._worker, nothing, nothing)
        self._control.begin()
        self._worker.resume()

    def fetch(self) -> None:
        """Ask for a job, if there is a place for one."""
        if not self._once("fetch") or self._at_work or self._worker.waiting():
            return
        with self._doing("fetch"), suppress(ApiError, Paused):
            self._worker.ask()

    def report(self) -> None:
        """One turn of the reporter; not between the API's answer and its commit, where one narrow window
        stays open: a status of a deleted job whose id the answer gives to a new one."""
        if self._once("report") and self._once("fetch"):
            with self._doing("report"):
                self._reporter.turn()

    def sweep(self) -> None:
        """One sweep."""
        if self._once("sweep"):
            with self._doing("sweep"):
                self._sweeper.sweep()

    def obey(self) -> None:
        """One look at what operators ask."""
        if self._once("obey"):
            with self._doing("obey"):
                self._control.turn()

    def work(self) -> None:
        """Each job goes on until it would wait."""
        if not self._once("work"):
            return
        with self._doing("work"):
            for job, stop in self._worker.taken():
                with suppress(Paused, StaleJob):
                    ended = advance(self._store.get(job.key), self._store, self._tools(job, stop))
                    if ended.state in TERMINAL:
                        self._worker.leave(job)

    def _gone(self, key: int) -> None:
        self._worker.gone(key)

    def _once(self, what: str) -> bool:
        return what not in self._busy

    def _doing(self, what: str) -> AbstractContextManager[None]:
        return _Doing(self._busy, what)

    def _tools(self, job: Job, stop: StopSignal) -> JobTools:
        lease = _LeaseNow(self._reporter, self._api)
        transfers = self.points.watched(_Transfers(self._world, self._api, self._store), "transfers")
        return _Tools(self._folders, transfers, self._runner, lease, self._store, stop)


class _Doing(AbstractContextManager[None]):
    """Each thread of the worker does one thing at a time."""

    def __init__(self, busy: set[str], what: str) -> None:
        self._busy, self._what = busy, what
        busy.add(what)

    def __exit__(self, *_: object) -> None:
        self._busy.discard(self._what)


class _Stepped(Worker):
    """The worker without its threads."""

    def resume(self) -> None:
        for job in self.store.live():
            self._take(job)

    def ask(self) -> None:
        self._fetch()

    def waiting(self) -> bool:
        return bool(self._stops)

    def taken(self) -> list[tuple[Job, StopSignal]]:
        self._fill_places()
        return [(self.store.get(key), self._stops[key]) for key in self._threads]

    def leave(self, job: Job) -> None:
        del self._threads[job.key]
        del self._stops[job.key]

    def _fill_places(self) -> None:
        while self._waiting and len(self._threads) < self.places:
            self._threads[self._waiting.popleft().key] = threading.current_thread()


class _Tools(JobTools):
    """The real tools, without threads and without waiting after a bug."""

    def together(self, first: Callable[[Stop], object], second: Callable[[Stop], object]) -> None:
        first(self.stop)
        second(self.stop)

    def stumbled(self, job: Job, error: Exception) -> None:
        raise AssertionError(f"a bug in {job.state}") from error


class _Watching:
    """The API as the worker sees it; notes what no worker may tell it."""

    def __init__(self, world: World, api: ModelApi) -> None:
        self._world, self._api = world, api
        self.acknowledged: set[str] = set()
        self._refused: set[str] = set()
        self._ended: set[str] = set()

    def fetch_jobs(self, resources: Resources, limit: int = 1) -> list[Any]:
        specs = self._api.fetch_jobs(resources, limit)
        for spec in specs:
            for known in (self.acknowledged, self._refused, self._ended):
                known.discard(spec.id)
        return specs

    def put_status(self, job_id: str, status: ApiStatus, detail: str = "") -> None:
        self._judge(job_id, status)
        try:
            self._api.put_status(job_id, status, detail)
        except NotFound:
            self._refused.add(job_id)
            raise
        self.acknowledged.add(job_id)
        if status.rank == ApiStatus.FINISHED.rank:
            self._ended.add(job_id)

    def job_status(self, job_id: str) -> str:
        return self._api.job_status(job_id)

    def may_upload(self, job_id: str) -> bool:
        if job_id not in self.acknowledged:
            self._world.wrong.append(f"job {job_id} uploaded before its lease was confirmed")
        return self._api.may_upload(job_id)

    def _judge(self, job_id: str, status: ApiStatus) -> None:
        wrong, store = self._world.wrong, self._world.store
        ours = [job for job in store.jobs.values() if job.id == job_id and not job.gone]
        if not ours:
            wrong.append(f"PUT {status} for job {job_id} after its 404 was durable")
        if job_id in self._refused:
            wrong.append(f"PUT {status} for job {job_id} after a 404 in this life")
        if job_id in self._ended:
            wrong.append(f"PUT {status} for job {job_id} after its end was acknowledged in this life")
        if all(store.reported(job.key) and job.state not in LIVE for job in ours):
            wrong.append(f"PUT {status} for job {job_id} after all was told")


class _LeaseNow:
    """The reporter as a lease where nobody can wait."""

    def __init__(self, reporter: Reporter, api: Any) -> None:
        self._reporter, self._api = reporter, api

    def confirm(self, job: Job, stop: Stop) -> None:
        stop.check()
        self._reporter.confirm(job, _Known(self.confirmed(job)))

    def confirmed(self, job: Job) -> bool:
        return self._reporter.confirmed(job)


class _Known:
    """A stop that is set unless all is known already."""

    def __init__(self, known: bool) -> None:
        self._known = known

    def is_set(self) -> bool:
        return not self._known

    def wait(self, seconds: float) -> bool:
        return self.is_set()

    def check(self) -> None:
        if not self._known:
            raise Paused("The API has not acknowledged the job yet.")

    def interrupts(self, callback: Callable[[], None]) -> AbstractContextManager[None]:
        return nullcontext()


class _Transfers:
    """One input and one output."""

    def __init__(self, world: World, api: Any, store: Any) -> None:
        self._world, self._api, self._store = world, api, store

    def download(self, job: Job, folder: Path, stop: Stop) -> None:
        stop.check()
        self._store.record_file(job, StoredFile(direction="down", kind="input", path="in", size=1))

    def upload(self, job: Job, folder: Path, log: Iterator[bytes], stop: Stop) -> Uploaded:
        stop.check()
        if job.key in self._world.desk.cancelled():
            self._world.wrong.append(f"job {job.id} uploads after it was cancelled")
        said = b"".join(log).decode()
        if not self._api.may_upload(job.id):
            raise Paused("The API answered 500.")
        self._store.record_file(job, StoredFile(direction="up", kind="output", path="out", size=1))
        return Uploaded(said, (StoredFile(direction="up", kind="log", path="log", size=len(said)),))


class _Folders:
    """The jobs' folders, by name."""

    def __init__(self, world: World) -> None:
        self._world = world

    def admit(self, job: Job) -> None: ...

    def used(self, job: Job) -> bool:
        return job.slug in self._world.folders

    def prepare(self, job: Job) -> Path:
        self._world.folders.add(job.slug)
        return self.folder(job)

    def folder(self, job: Job) -> Path:
        return Path("/base") / job.slug / str(job.run)

    def home(self, job: Job) -> Path:
        return self.folder(job).parent

    def discard(self, job: Job) -> None:
        self._world.folders.discard(job.slug)
