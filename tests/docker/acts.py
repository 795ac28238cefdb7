"""What tests of a whole worker do with its jobs in a real engine, and what they ask about them."""

from pathlib import Path

import docker
from docker.models.containers import Container

from mock_api.client import MockServer
from tests.engine_view import containers_of, running_of
from tests.service_view import details, told
from tests.worker_process import WorkerProcess, until

PATIENCE = 90.0
"""Seconds that a job may take to its end on a busy machine."""
WAIT = "touch /files/up; while ! test -e /files/go; do sleep 0.05; done;"
"""Lets a job run until ``go`` is called."""


def wait_for(mock: MockServer, job: int, status: str) -> None:
    """Wait until the job's end is acknowledged, which must be ``status``."""
    mock.control.wait_status(job, "finished", "error", timeout_seconds=PATIENCE)
    assert told(mock, job)[-1] == status, details(mock, job)


def folder_of(base: Path, run: int = 1) -> Path:
    """The folder of the one job's run, once its command waits. ``base`` is as this test sees it."""
    up = until(f"run {run} to begin", lambda: list(base.glob(f"jobs/*/{run}/up")), PATIENCE)
    return up[0].parent


def go(base: Path, run: int = 1) -> None:
    """Let the run that waits go on."""
    (folder_of(base, run) / "go").touch()


def worker_id(base: Path) -> str:
    """The name by which the engine's containers are known as this worker's."""
    return (base / "worker-id").read_text().strip()


def container_of(client: docker.DockerClient, base: Path) -> Container:
    """The one container of the worker that runs, or is about to."""
    [name] = until("a container that runs", lambda: running_of(worker_id(base)))
    return client.containers.get(name)


def assert_nothing_left(base: Path, seconds: float = PATIENCE) -> None:
    """No container and no job folder stays behind."""
    until(
        "nothing left behind",
        lambda: not [*containers_of(worker_id(base)), *base.glob("jobs/*")],
        seconds,
    )


def assert_dropped(mock: MockServer, worker: WorkerProcess, job: int) -> None:
    """The job's end as one that is no longer ours: no container, no upload, not a word to the API."""
    worker.wait_for_state(str(job), "cancelled")
    assert_nothing_left(worker.base)
    assert mock.control.uploads(job) == []
    assert mock.control.violations() == []
