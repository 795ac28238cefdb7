"""Kills and restarts an engine of the test's own while a job runs."""

import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobfetcher.runners.docker import DockerRunner
from jobfetcher.stop import StopSignal
from states.errors import Paused, RunLost
from states.job import Job, Run
from states.spec import JobSpec
from tests.docker.private_engine import PrivateEngine
from tests.images import DEFAULT, busybox_image

pytestmark = [pytest.mark.docker, pytest.mark.root]
DEADLINE = 30.0
WAIT = "while ! test -e /files/go; do sleep 0.05; done;"


class Bench:
    """A job that runs in a private engine until it is told to go on."""

    def __init__(self, engine: PrivateEngine, folder: Path, *cmd: str, before: str = "") -> None:
        self.engine, self.folder, self.stop = engine, folder, StopSignal()
        self.runner = DockerRunner("t", base_url=engine.base_url, network="none", pull="never")
        raw = {
            "app": {"cmd": [before, "touch /files/up;", WAIT, *cmd]},
            "handler": {"image_url": DEFAULT},
            "meta": {"job_id": 1, "date_created": "2024-01-01"},
            "hardware": {},
        }
        busybox_image(DEFAULT, engine.base_url)
        job = Job(key=1, worker="t", spec=JobSpec.parse("1", raw))
        self.job = job.with_facts(image_id=self.runner.prepare(job.spec, self.stop))

    def start(self) -> Run:
        created = self.runner.create(self.job, self.folder, self.stop)
        self.job = self.job.with_facts(run=created)
        run = self.runner.start(self.job, created, self.stop)
        self.job = self.job.with_facts(run=run)
        deadline = time.monotonic() + DEADLINE
        while not (self.folder / "up").exists():
            assert time.monotonic() < deadline, "the job never started"
            time.sleep(0.01)
        return run

    def resumed(self) -> Run:
        """What a step does again after a pause."""
        created = self.runner.create(self.job, self.folder, self.stop)
        return self.runner.start(self.job, created, self.stop)


@pytest.fixture
def engine() -> Iterator[PrivateEngine]:
    with PrivateEngine() as engine:
        yield engine


@pytest.fixture
def lasting_engine() -> Iterator[PrivateEngine]:
    with PrivateEngine("--live-restore") as engine:
        yield engine


@pytest.mark.row(40)
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_restarted_engine_loses_the_run(engine: PrivateEngine, tmp_path: Path, how: signal.Signals) -> None:
    """Whatever code the engine's end gave the job, even 0, it was interrupted and is not believed."""
    bench = Bench(engine, tmp_path, "exit 7", before="trap 'exit 0' TERM;")
    bench.start()
    engine.end(how)
    engine.start()

    with pytest.raises(RunLost, match="interrupted"):
        bench.runner.wait(bench.job, bench.resumed(), bench.stop)


@pytest.mark.row(41)
def test_live_restore_keeps_the_run(lasting_engine: PrivateEngine, tmp_path: Path) -> None:
    """While the engine is away the wait pauses; afterwards the job's own code counts."""
    bench = Bench(lasting_engine, tmp_path, "exit 7")
    run = bench.start()
    lasting_engine.end(signal.SIGKILL)
    with pytest.raises(Paused):
        bench.runner.wait(bench.job, run, bench.stop)
    lasting_engine.start()
    resumed = bench.resumed()
    (tmp_path / "go").touch()

    assert bench.runner.wait(bench.job, resumed, bench.stop).code == 7


@pytest.mark.row(40)
def test_a_killed_engine_ends_the_waiting(engine: PrivateEngine, tmp_path: Path) -> None:
    """Whoever waits while the engine is killed is paused, and draws no conclusion."""
    bench = Bench(engine, tmp_path)
    run = bench.start()
    killer = threading.Timer(0.5, engine.end, [signal.SIGKILL])
    killer.start()

    with pytest.raises(Paused):
        bench.runner.wait(bench.job, run, bench.stop)
    killer.join()
