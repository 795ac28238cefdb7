"""The worker's own decisions: who is told to stop, who ends at once, and when a drained worker leaves."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from jobfetcher.reporter import Reporter
from jobfetcher.stop import StopSignal
from jobfetcher.sweeper import Sweeper
from jobfetcher.tools import JobTools
from jobfetcher.worker import Intake, Worker
from jobfetcher.workspace import Folders
from persistence.store import SqlStore
from states.job import Job, JobState
from states.ports import Resources, Stop, Uploaded
from states.spec import JobSpec
from tests.fake_tools import Calls, FakeEngine, FakeLease, FakeRunner, FakeTransfers, FakeWorkspace, a_spec
from tests.store_life import sent
from tests.worker_process import until


class SlowTransfers(FakeTransfers):
    """Downloads and uploads last until they are let go, or the job is stopped."""

    def __init__(self, calls: Calls) -> None:
        super().__init__(calls)
        self.slow = {"down", "up"}
        self.let_go = threading.Event()

    def download(self, job: Job, folder: Path, stop: Stop) -> None:
        super().download(job, folder, stop)
        self._wait("down", stop)

    def upload(self, job: Job, folder: Path, log: Iterator[bytes], stop: Stop) -> Uploaded:
        sent = super().upload(job, folder, log, stop)
        self._wait("up", stop)
        return sent

    def _wait(self, what: str, stop: Stop) -> None:
        with stop.interrupts(self.let_go.set):
            if what in self.slow:
                self.let_go.wait(60)
        if stop.is_set():
            self.let_go.clear()
        stop.check()


class FakeApi:
    """Has jobs to give."""

    def __init__(self) -> None:
        self.queue: list[JobSpec] = []
        self.asked = threading.Event()

    def fetch_jobs(self, resources: Resources, limit: int = 1) -> list[JobSpec]:
        self.asked.set()
        return [self.queue.pop(0)] if self.queue else []

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"the API was asked for {name}")


@dataclass
class Scene:
    """A worker whose jobs do nothing but wait."""

    store: SqlStore
    base: Path
    places: int = 1
    api: FakeApi = field(default_factory=FakeApi)
    calls: Calls = field(default_factory=Calls)

    def __post_init__(self) -> None:
        self.transfers = SlowTransfers(self.calls)
        self.runner = FakeRunner(self.calls, FakeEngine())
        api: Any = self.api
        reporter = Reporter(api, self.store, 1000, on_gone=lambda key: None)
        sweeper = Sweeper(self.store, self.runner, Folders(self.base))
        intake = Intake(api, lambda: Resources(memory=1), lambda: None, 0.05)
        self.worker = Worker(self.store, intake, reporter, sweeper, self.tools, self.places)

    def tools(self, job: Job, stop: StopSignal) -> JobTools:
        workspace, lease = FakeWorkspace(self.calls), FakeLease(self.calls)
        return JobTools(workspace, self.transfers, self.runner, lease, self.store, stop)

    @contextmanager
    def running(self) -> Iterator[threading.Thread]:
        thread = threading.Thread(target=self.worker.run)
        thread.start()
        try:
            yield thread
        finally:
            self.worker.stop()
            thread.join(60)
            assert self.worker.join(60)

    def state(self, job: Job) -> JobState:
        return self.store.get(job.key).state

    def wait_for(self, job: Job, state: JobState) -> None:
        until(f"{state}", lambda: self.state(job) is state)

    def wait_for_call(self, name: str, times: int = 1) -> None:
        until(f"{name} {times} times", lambda: self.calls.log.count(name) >= times)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with SqlStore(f"sqlite:///{tmp_path}/jobs.db", "w") as store:
        yield Scene(store, tmp_path)


def test_a_job_at_work_is_told(scene: Scene) -> None:
    """It leaves its step and ends in ``error`` with the sentence; the next one gets its place."""
    first, second = scene.store.add_all([a_spec("1"), a_spec("2")])
    with scene.running():
        scene.wait_for_call("transfers.download")
        scene.worker.cancel(first.key, "No more.")

        scene.wait_for(first, JobState.ERROR)
        assert scene.store.get(first.key).facts.detail == "No more."
        scene.wait_for(second, JobState.DOWNLOADING)


def test_a_job_that_waits_for_a_place_ends_at_once(scene: Scene) -> None:
    """It needs no place to be cancelled, and does nothing when its turn would have come."""
    first, second = scene.store.add_all([a_spec("1"), a_spec("2")])
    with scene.running():
        scene.wait_for_call("transfers.download")
        scene.worker.cancel(second.key, "No more.")

        assert (scene.state(first), scene.state(second)) == (JobState.DOWNLOADING, JobState.ERROR)
        scene.transfers.slow.clear()
        scene.transfers.let_go.set()
        scene.wait_for(first, JobState.FINISHED)
    assert scene.calls.log.count("transfers.download") == 1


def test_a_job_that_was_not_resumed_yet_ends_at_once(scene: Scene) -> None:
    """What is asked before the worker runs comes first: no step of the job is taken."""
    job = scene.store.add(a_spec())
    scene.worker.cancel(job.key, "No more.")
    scene.worker.cancel(job.key, "And again.")
    with scene.running():
        assert scene.api.asked.wait(60)

    assert scene.store.get(job.key).facts.detail == "No more."
    assert scene.calls.log == []


def test_a_step_begins_anew_at_once(scene: Scene) -> None:
    """An upload is left and begun again, without an attempt on record; a cancel in between still counts."""
    job = scene.store.add(a_spec())
    scene.transfers.slow = {"up"}
    assert scene.worker.begin_step_anew(job.key) is False
    with scene.running():
        scene.wait_for_call("transfers.upload")
        assert scene.worker.begin_step_anew(job.key, lambda: scene.calls("nothing under way")) is True
        scene.wait_for_call("transfers.upload", 2)
        assert scene.calls.log[-4:] == [
            "nothing under way",
            "lease.confirm",
            "runner.logs",
            "transfers.upload",
        ]

        assert (scene.state(job), scene.store.get(job.key).attempts) == (JobState.UPLOADING, 1)
        scene.worker.begin_step_anew(job.key)
        scene.worker.cancel(job.key, "No more.")
        scene.wait_for(job, JobState.ERROR)


@pytest.mark.parametrize("places", [1, 2])
def test_a_drained_worker_leaves_when_all_is_told(scene: Scene, tmp_path: Path, places: int) -> None:
    """Jobs at work and jobs that wait for a place come to their end, and the API must have heard of it."""
    scene = Scene(scene.store, tmp_path, places)
    jobs = scene.store.add_all([a_spec("1"), a_spec("2"), a_spec("3")])
    with scene.running() as thread:
        scene.wait_for_call("transfers.download", places)
        scene.worker.drain(leave=True)
        scene.api.queue.append(a_spec("4"))
        scene.transfers.slow.clear()
        scene.transfers.let_go.set()
        for job in jobs:
            scene.wait_for(job, JobState.FINISHED)
        assert thread.is_alive()

        sent(scene.store)
        thread.join(60)

        assert not thread.is_alive()
    assert (len(scene.api.queue), scene.store.find("4")) == (1, [])
    assert scene.runner.owned() == []


def test_a_worker_that_starts_while_draining_stays(scene: Scene) -> None:
    """It sees its live jobs through, then stays without fetching, until it is resumed."""
    job = scene.store.add(a_spec("1"))
    scene.transfers.slow.clear()
    scene.api.queue.append(a_spec("2"))
    scene.worker.drain(leave=False)
    with scene.running() as thread:
        scene.wait_for(job, JobState.FINISHED)
        sent(scene.store)
        assert (thread.is_alive(), scene.worker.draining, scene.api.asked.is_set()) == (True, True, False)

        scene.worker.resume()
        until("the next job", lambda: scene.store.find("2"))
        assert scene.worker.draining is False
