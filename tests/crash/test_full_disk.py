"""Jobs that fill the disk of the worker's folder: they end, and what operators ask is done meanwhile."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mock_api.client import MockServer
from persistence import upkeep
from persistence.reserve import SIZE
from tests.crash.scene import Scene, scene
from tests.crash.test_faults import small_disk
from tests.worker_process import until

MIB = 1024 * 1024
FILL = "cat /dev/zero > /files/output/fill"


@pytest.fixture
def stage(tmp_path: Path, mock: MockServer) -> Iterator[Scene]:
    """A worker on a small disk, with its reserve."""
    made = scene(tmp_path, mock, "process", "image:1", MIN_FREE_DISK="5")
    with small_disk(made.worker.base, 48 * MIB), made.worker:
        made.worker.start()
        log = made.worker.base / "jobfetcher.db-wal"
        until("the reserve", lambda: log.exists() and log.stat().st_size >= SIZE)
        yield made


def jobfetcher(stage: Scene, *words: str) -> tuple[int, str]:
    """Exit code and output of a command about the worker."""
    about = {"PATH_BASE": str(stage.worker.base), "API_URL": stage.mock.url, "ACCESS_TOKEN": "mock-token"}
    argv, environ = [sys.executable, "-m", "jobfetcher", *words], {**os.environ, **about, "RUNNER": "process"}
    done = subprocess.run(argv, env=environ, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def is_full(stage: Scene) -> bool:
    return shutil.disk_usage(stage.worker.base).free == 0


def assert_sound(stage: Scene) -> None:
    """The database is whole, and the disk is free again."""
    stage.assert_nothing_left()
    assert shutil.disk_usage(stage.worker.base).free > 2 * SIZE
    assert upkeep.check(stage.worker.base / "jobfetcher.db").live == 0
    assert stage.mock.control.violations() == []


@pytest.mark.root
@pytest.mark.row(9, 74)
@pytest.mark.parametrize(("code", "end"), [(0, "finished"), (3, "error")])
def test_a_job_that_fills_the_disk_ends(stage: Scene, code: int, end: str) -> None:
    """What it has written is uploaded, nothing is left, and the next job runs."""
    job = stage.submit(command=f"{FILL}; (exit {code})", files=0)

    assert stage.ended(job) == end
    assert ["preprocessing", "running", "postprocessing", end] == stage.told(job)
    assert len(stage.output(job, "fill")) > 8 * MIB
    assert b"start\n" == stage.output(job, "starts")
    assert_sound(stage)
    assert stage.ended(stage.submit(files=0)) == "finished"


@pytest.mark.root
@pytest.mark.row(74)
@pytest.mark.parametrize("killed", [True, False], ids=["killed", "stopped"])
def test_a_job_fills_the_disk_while_no_worker_runs(stage: Scene, killed: bool) -> None:
    """The room that was set aside outlives the worker: the next start ends the job."""
    forever = "while ! test -e /files/output/enough; do cat /dev/zero >> /files/output/fill; sleep 0.02; done"
    job = stage.submit(command=f"{forever}; true", files=0)
    until("a full disk", lambda: is_full(stage))
    stage.worker.kill() if killed else stage.worker.stop()
    (output,) = (stage.worker.base / "jobs").glob("*/1/output")
    (output / "enough").touch()
    stage.worker.start()

    assert stage.ended(job) == "finished"
    assert b"start\n" == stage.output(job, "starts")
    assert_sound(stage)


@pytest.mark.root
@pytest.mark.row(74)
def test_an_operator_cancels_a_job_that_takes_every_byte(stage: Scene) -> None:
    """The disk is full and the container writes on: health and doctor say so, and the job is cancelled
    all the same."""
    job = stage.submit(command="while :; do cat /dev/zero >> /files/output/fill; sleep 0.01; done", files=0)
    until("a full disk", lambda: is_full(stage))

    code, said = jobfetcher(stage, "health")
    assert (1, True) == (code, "The disk is full" in said)
    code, said = jobfetcher(stage, "doctor")
    assert (1, True) == (code, "the disk is full" in said), said
    code, said = jobfetcher(stage, "cancel", str(job), "--reason", "the disk")
    assert (0, True) == (code, "is cancelled" in said), said
    assert stage.ended(job) == "error"
    assert_sound(stage)
    assert (0, "The worker is healthy.\n") == jobfetcher(stage, "health")
