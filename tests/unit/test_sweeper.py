"""The sweep: what ended jobs left goes, what live jobs claim stays, and nothing stops it for good."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from jobfetcher.sweeper import Sweeper
from jobfetcher.workspace import Folders
from persistence.requests import Answer, Desk, Operator
from persistence.store import SqlStore
from states.errors import Paused
from states.job import Exit, Job, Trigger
from states.machine import fire
from tests.fake_tools import Calls, FakeEngine, FakeRunner, a_spec


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlStore]:
    with SqlStore(f"sqlite:///{tmp_path}/jobs.db", "w") as opened:
        yield opened


class Scene:
    """A sweeper over a real store and folders, and a fake engine."""

    def __init__(self, store: SqlStore, base: Path, folders: Folders | None = None) -> None:
        self.store = store
        self.calls = Calls()
        self.engine = FakeEngine()
        self.folders = folders or Folders(base)
        self.sweeper = Sweeper(store, FakeRunner(self.calls, self.engine), self.folders)

    def job(self, job_id: str, *triggers: Trigger, reported: bool = True) -> Job:
        job = self.store.add(a_spec(job_id))
        self.folders.prepare(job)
        self.engine.started[job.run_name] = True
        for trigger in triggers:
            job = self.store.commit(job, fire(job, trigger), trigger)
        while reported and (unsent := self.store.next_unsent(job.key)):
            self.store.mark_sent(unsent)
        return job


@pytest.fixture
def scene(store: SqlStore, tmp_path: Path) -> Scene:
    return Scene(store, tmp_path)


def test_room_is_looked_for_after_each_sweep(store: SqlStore, tmp_path: Path) -> None:
    """By then what the ended job left is gone."""
    seen: list[list[Job]] = []
    scene = Scene(store, tmp_path)
    runner = FakeRunner(scene.calls, scene.engine)
    sweeper = Sweeper(store, runner, scene.folders, after=lambda: seen.append(store.sweepable()))
    scene.job("1", Trigger.FAILED)

    sweeper.sweep()
    assert [[]] == seen


def test_what_an_ended_job_left_is_removed(scene: Scene) -> None:
    """Container and folder of an ended, reported job are gone after one sweep."""
    job = scene.job("1", Trigger.FAILED)

    scene.sweeper.sweep()

    assert scene.engine.started == {}
    assert not scene.folders.home(job).exists()
    assert scene.store.sweepable() == []


def test_only_a_run_whose_end_nobody_saw_is_told_to_end(scene: Scene) -> None:
    """One question less to the engine for each job that goes well; removed are both."""
    job = scene.job("1", Trigger.ACCEPTED, Trigger.DOWNLOADED, reported=False)
    for trigger in (Trigger.EXITED, Trigger.UPLOADED):
        job = scene.store.commit(job, fire(job.with_facts(exit=Exit(code=0)), trigger), trigger)
    scene.job("2", Trigger.FAILED)
    scene.sweeper.sweep()

    assert scene.calls.log == ["runner.remove", "runner.stop", "runner.remove"]
    assert scene.engine.started == {}


def test_what_a_live_job_claims_stays(scene: Scene) -> None:
    """The container of the current run and the folder of a live job are not touched."""
    job = scene.job("1", Trigger.ACCEPTED)

    scene.sweeper.sweep()

    assert scene.engine.started == {job.run_name: True}
    assert scene.folders.folder(job).exists()


def test_an_unreported_job_keeps_its_folder(scene: Scene) -> None:
    """As long as the API has not heard of the end, the folder stays; the container need not."""
    job = scene.job("1", Trigger.FAILED, reported=False)

    scene.sweeper.sweep()

    assert scene.engine.started == {}
    assert scene.folders.home(job).exists()


def test_the_container_of_a_job_that_is_gone_is_stopped(scene: Scene) -> None:
    """A 404 is enough: the container does not wait for the job's own thread."""
    job = scene.job("1", Trigger.ACCEPTED)
    scene.store.mark_gone(job.key)

    scene.sweeper.sweep()

    assert scene.engine.started == {}
    assert "runner.stop" in scene.calls.log


def test_what_is_kept_goes_when_its_time_is_over(tmp_path: Path) -> None:
    """KEEP_JOBS is counted from the last thing that happened to the job; its container goes at once."""
    now = [0.0]
    with SqlStore(f"sqlite:///{tmp_path}/jobs.db", "w", clock=lambda: now[0]) as store:
        scene = Scene(store, tmp_path)
        scene.sweeper = Sweeper(store, FakeRunner(scene.calls, scene.engine), scene.folders, keep=3600)
        job = scene.job("1", Trigger.FAILED)
        now[0] = 3599.0
        scene.sweeper.sweep()
        assert (scene.engine.started, scene.folders.home(job).exists()) == ({}, True)

        now[0] = 3600.0
        scene.sweeper.sweep()
        assert not scene.folders.home(job).exists()


def test_what_a_deleted_job_left_is_not_kept(store: SqlStore, tmp_path: Path) -> None:
    """Its user took it back: its files go at once."""
    scene = Scene(store, tmp_path)
    scene.sweeper = Sweeper(store, FakeRunner(scene.calls, scene.engine), scene.folders, keep=3600)
    job = scene.job("1", Trigger.GONE)

    scene.sweeper.sweep()

    assert not scene.folders.home(job).exists()


def test_what_an_operator_asked_about_stays(scene: Scene) -> None:
    """The folder of a job with an open request is not touched, nor one that is being read."""
    job = scene.job("1", Trigger.FAILED)
    with Operator(scene.store.path) as operator, Desk(scene.store.path, "w") as desk:
        operator.ask("w", "retry-upload", job.key)
        scene.sweeper.sweep()
        assert scene.folders.home(job).exists()

        desk.answer(desk.waiting()[0], Answer("Done."))
    with scene.sweeper.holding(job.key):
        scene.sweeper.sweep()
        assert scene.folders.home(job).exists()
    scene.sweeper.sweep()

    assert not scene.folders.home(job).exists()


def test_a_container_that_nobody_knows_is_removed(scene: Scene) -> None:
    """A run of this worker that no job of the database claims is a leftover."""
    scene.engine.started["jobfetcher-w-9-deadbeef-1"] = True

    scene.sweeper.sweep()

    assert scene.engine.started == {}


def test_an_engine_that_is_away_postpones_the_sweep(store: SqlStore, tmp_path: Path) -> None:
    """Nothing is raised and nothing is forgotten: the next sweep does it."""
    scene = Scene(store, tmp_path)
    scene.calls = Calls({"runner.stop": [Paused("The engine is away.")]})
    scene.sweeper = Sweeper(store, FakeRunner(scene.calls, scene.engine), scene.folders)
    scene.job("1", Trigger.FAILED)

    scene.sweeper.sweep()
    first = dict(scene.engine.started)
    scene.sweeper.sweep()

    assert len(first) == 1
    assert scene.engine.started == {}
    assert store.sweepable() == []


class Stubborn(Folders):
    """A folder in which a container's root left something, until it is cleared."""

    def __init__(self, base: Path, calls: Calls) -> None:
        super().__init__(base)
        self._calls = calls

    def discard(self, job: Job) -> None:
        if "runner.clear" not in self._calls.log:
            raise PermissionError("not yours")
        super().discard(job)


def test_files_of_a_containers_root_are_cleared_by_the_runner(store: SqlStore, tmp_path: Path) -> None:
    """What the worker may not remove, a container of the job's image does."""
    calls = Calls()
    scene = Scene(store, tmp_path, Stubborn(tmp_path, calls))
    scene.sweeper = Sweeper(store, FakeRunner(calls, scene.engine), scene.folders)
    job = scene.job("1", Trigger.FAILED)

    scene.sweeper.sweep()

    assert not scene.folders.home(job).exists()
    assert store.sweepable() == []
