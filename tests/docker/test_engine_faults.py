"""A whole worker over an engine of the test's own, which is killed, frozen, restarted or taken away."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from mock_api.client import MockServer
from tests.crash.scene import Scene, scene
from tests.docker.private_engine import PrivateEngine
from tests.images import DEFAULT, busybox_image
from tests.worker_process import until

pytestmark = [pytest.mark.docker, pytest.mark.root, pytest.mark.timeout(240)]

GO = "touch /files/output/began; while ! test -e /files/go; do sleep 0.05; done"
"""Works until the test lets it go on."""


class Stage(Scene):
    """A scene over a private engine."""

    engine: PrivateEngine

    def runs(self) -> list[Path]:
        """Folders of runs whose command has begun."""
        return [mark.parents[1] for mark in self.worker.base.glob("jobs/*/*/output/began")]

    def began(self, run: int = 1) -> Path:
        """Wait until the command of that run works and the worker waits for it; return the run's folder."""
        until("the worker to wait", lambda: "docker.before-wait" in self.failpoints_reached())
        return until(f"run {run} to work", lambda: [one for one in self.runs() if one.name == str(run)])[0]

    def leftovers(self) -> list[str]:
        left = [str(path) for path in (self.worker.base / "jobs").glob("*")]
        return left + [str(container["Names"]) for container in self.containers()]

    def containers(self) -> list[dict[str, object]]:
        client = docker.APIClient(base_url=self.engine.base_url, version="auto")
        try:
            return list(client.containers(all=True))
        finally:
            client.close()

    def logged(self, text: str) -> bool:
        return self.worker.log.exists() and text in self.worker.log.read_text()


@pytest.fixture
def flags(request: pytest.FixtureRequest) -> list[str]:
    return getattr(request, "param", [])


@pytest.fixture
def stage(tmp_path: Path, flags: list[str]) -> Iterator[Stage]:
    with MockServer(tmp_path / "api", "--no-retry-different") as mock, PrivateEngine(*flags) as engine:
        busybox_image(DEFAULT, engine.base_url)
        plain = scene(tmp_path, mock, "docker", DEFAULT, DOCKER_HOST=engine.base_url)
        made = Stage(plain.mock, plain.worker, plain.runner, plain.image, plain.inputs)
        made.engine = engine
        with made.worker:
            yield made


@pytest.mark.row(40)
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "stopped"])
@pytest.mark.parametrize("trap", ["", "trap 'exit 0' TERM;"], ids=["plain", "traps TERM"])
def test_a_job_whose_engine_restarts_is_run_again(stage: Stage, how: signal.Signals, trap: str) -> None:
    """Whatever code the engine left behind, the job is not finished: it runs again from clean inputs."""
    job = stage.submit(command=f"{trap} {GO}")
    stage.worker.start()
    (stage.began() / "output" / "half").write_text("of the lost run")
    stage.engine.end(how)
    stage.engine.start()

    (stage.began(run=2) / "go").touch()

    stage.assert_perfect(job)
    assert "half" not in {upload.name for upload in stage.mock.control.uploads(job)}


@pytest.mark.row(41)
@pytest.mark.parametrize("flags", [["--live-restore"]], indirect=True)
def test_with_live_restore_a_job_outlives_its_engine(stage: Stage) -> None:
    """The container goes on while the engine is away; it is not run again."""
    job = stage.submit(command=GO)
    stage.worker.start()
    folder = stage.began()
    stage.engine.end(signal.SIGKILL)
    until("the loss to be felt", lambda: stage.logged("job.paused"))
    stage.engine.start()
    (folder / "go").touch()

    stage.assert_perfect(job)
    assert [run.name for run in stage.runs()] in (["1"], [])


@pytest.mark.row(42)
def test_an_engine_that_hangs_is_waited_for(stage: Stage) -> None:
    """No verdict while the engine is frozen; keep-alives go on; afterwards the job ends as it should."""
    job = stage.submit(command=GO)
    stage.worker.start()
    folder = stage.began()
    assert stage.engine.pid is not None
    os.kill(stage.engine.pid, signal.SIGSTOP)
    try:
        heard = len(stage.mock.control.statuses(job))
        (folder / "go").touch()
        until("keep-alives", lambda: len(stage.mock.control.statuses(job)) >= heard + 3)
        assert stage.told(job) == ["preprocessing", "running"]
    finally:
        os.kill(stage.engine.pid, signal.SIGCONT)

    stage.assert_perfect(job)


@pytest.mark.row(43)
def test_without_an_engine_jobs_wait(stage: Stage) -> None:
    """A worker that starts before its engine fails no job and fetches none; then it goes on."""
    job, later = stage.submit(command="true"), stage.submit(command="true")
    stage.worker.start(failpoints="downloading.committed=kill")
    assert stage.worker.killed_itself()
    stage.engine.end(signal.SIGTERM)
    stage.worker.start()
    until("the want to be felt", lambda: stage.logged("No Docker engine answers"))
    until("a keep-alive", lambda: stage.told(job) == ["preprocessing"])
    assert stage.worker.state(str(job)) == "downloading"
    assert stage.mock.control.statuses(later) == []

    stage.engine.start()

    stage.assert_perfect(job)
    stage.assert_perfect(later)


@pytest.mark.row(44)
@pytest.mark.parametrize("worker", ["too", "not"])
def test_a_job_whose_host_reboots_is_run_again(stage: Stage, worker: str) -> None:
    """Power fails: the old container is never started again, the job runs once more."""
    job = stage.submit(command=GO)
    stage.worker.start()
    stage.began()
    if worker == "too":
        stage.worker.kill()
    stage.engine.crash()
    stage.engine.start()
    if worker == "too":
        stage.worker.start()

    (stage.began(run=2) / "go").touch()

    stage.assert_perfect(job)


@pytest.mark.row(45)
def test_an_exit_that_nobody_saw_before_a_reboot_is_not_believed(stage: Stage) -> None:
    """The container ended with 0 while no worker ran, then the engine restarted: it runs again."""
    job = stage.submit(command=GO)
    stage.worker.start()
    folder = stage.began()
    stage.worker.kill()
    (folder / "go").touch()
    until("the end", lambda: [one for one in stage.containers() if one["State"] == "exited"])
    stage.engine.end(signal.SIGKILL)
    stage.engine.start()
    stage.worker.start()

    (stage.began(run=2) / "go").touch()

    stage.assert_perfect(job)


@pytest.mark.row(47)
def test_a_lost_database_costs_one_timeout(stage: Stage) -> None:
    """Its container is removed, since nobody claims it; the service gives the job out again."""
    job = stage.submit(command=GO)
    stage.worker.start()
    stage.began()
    stage.worker.kill()
    for file in stage.worker.base.glob("jobfetcher.db*"):
        file.unlink()
    stage.worker.start()
    until("the container to be removed", lambda: not stage.containers())
    stage.mock.control.advance(400)
    assert stage.mock.control.scan() == [job]

    until("the job to come back", lambda: stage.worker.state(str(job)) == "running")
    (stage.began() / "go").touch()

    assert stage.ended(job) == "finished"
    assert stage.output(job, "starts") == b"start\n"
    stage.assert_nothing_left()
