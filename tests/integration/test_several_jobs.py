"""Several jobs at once, as plain processes: each has a GPU of its own, and none gets in another's way."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mock_api.client import MockServer
from tests import nvml
from tests.worker_process import WorkerProcess, until

GPUS = (("GPU-1", "RTX A5000", 24000), ("GPU-2", "RTX A5000", 24000))
WAIT = "touch /files/output/up; while ! test -e /files/go; do sleep 0.05; done;"
SHOW = "echo $CUDA_VISIBLE_DEVICES > /files/output/gpus"


@pytest.fixture
def worker(tmp_path: Path, mock: MockServer) -> Iterator[WorkerProcess]:
    seen = nvml.environ(nvml.build(tmp_path), tmp_path / "gpus", *GPUS)
    with WorkerProcess(tmp_path / "worker", mock.url, RUNNER="process", MAX_JOBS="2", **seen) as made:
        yield made


def submit(mock: MockServer, **hardware: Any) -> int:
    return mock.control.submit(cmd=[WAIT, SHOW], files_up={"output": "output"}, hardware=hardware)


def at_work(worker: WorkerProcess, count: int) -> list[Path]:
    """Wait for so many jobs' commands; their folders."""

    def probe() -> list[Path] | None:
        found = [mark.parents[1] for mark in worker.base.glob("jobs/*/*/output/up")]
        waiting = [folder for folder in found if not (folder / "go").exists()]
        return waiting if len(waiting) == count else None

    return until(f"{count} commands at work", probe)


def hardware(worker: WorkerProcess, tmp_path: Path) -> dict[str, Any]:
    """What the command says, beside the running worker."""
    said = subprocess.run(
        [sys.executable, "-m", "jobfetcher", "hardware", "--json"],
        env={
            **os.environ,
            "LD_LIBRARY_PATH": str(tmp_path),
            "FAKE_NVML": str(tmp_path / "gpus"),
            "API_URL": "http://127.0.0.1",
            "ACCESS_TOKEN": "t",
            "PATH_BASE": str(worker.base),
            "MAX_JOBS": "2",
        },
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
    )
    found: dict[str, Any] = json.loads(said.stdout)
    return found


def test_each_job_sees_its_own_gpu(mock: MockServer, worker: WorkerProcess, tmp_path: Path) -> None:
    """Also one that comes when another has ended; 'hardware' shows who holds what meanwhile."""
    jobs = [submit(mock, memory=300), submit(mock)]
    worker.start()
    folders = at_work(worker, 2)
    shown = hardware(worker, tmp_path)
    assert (shown["held"]["gpus"], shown["offered"]) == (["GPU-1", "GPU-2"], None)
    assert [job["memory"] for job in shown["jobs"]] == [300, shown["has"]["memory"] // 2]
    jobs.append(submit(mock))
    (folders[0] / "go").touch()
    at_work(worker, 2)
    for folder in worker.base.glob("jobs/*/*"):
        (folder / "go").touch()
    for job in jobs:
        mock.control.wait_status(job, "finished", "error", timeout_seconds=60)

    seen = [mock.control.uploaded(job, "output/output/gpus").decode().strip() for job in jobs]
    assert sorted(seen[:2]) == ["GPU-1", "GPU-2"]
    assert seen[2] in seen[:2]
    assert mock.control.violations() == []


def test_nothing_is_fetched_while_nothing_is_free(mock: MockServer, worker: WorkerProcess) -> None:
    """A job that holds all cores leaves a place free, but nothing to offer. Its end is noticed at once, and
    not at the next question, which is far away."""
    first = submit(mock, cpu_cores=len(os.sched_getaffinity(0)))
    second = submit(mock)
    worker.start(TIMEOUT_JOB="3600")
    [folder] = at_work(worker, 1)
    heard = len(mock.control.statuses(first))
    until("three keep-alives", lambda: len(mock.control.statuses(first)) >= heard + 3)
    assert mock.control.statuses(second) == []
    (folder / "go").touch()
    [folder] = at_work(worker, 1)
    (folder / "go").touch()

    for job in (first, second):
        mock.control.wait_status(job, "finished", timeout_seconds=60)


@pytest.mark.row(46)
def test_a_job_whose_gpu_vanished_before_its_container_waits_for_it(
    mock: MockServer, worker: WorkerProcess, tmp_path: Path
) -> None:
    """Its owner is not told of an error, and it does not run without: it goes on when the GPU is back."""
    job = submit(mock)
    worker.start(failpoints="process.before-create=kill")
    assert worker.killed_itself()
    there = (tmp_path / "gpus").read_text()
    (tmp_path / "gpus").write_text("")
    worker.start()
    until("the worker to say so", lambda: "waits for a GPU" in worker.log.read_text())
    assert not list(worker.base.glob("jobs/*/*/output/up"))
    (tmp_path / "gpus").write_text(there)
    [folder] = at_work(worker, 1)
    (folder / "go").touch()
    mock.control.wait_status(job, "finished", "error", timeout_seconds=60)

    assert mock.control.uploaded(job, "output/output/gpus") == b"GPU-1\n"
    assert mock.control.violations() == []
