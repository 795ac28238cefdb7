"""The whole worker with a real engine: what users, operators and the kernel do to a job's container."""

import stat
import uuid
from collections.abc import Iterator
from typing import Any

import docker
import pytest

from mock_api.client import MockServer
from states.table import MAX_RERUNS
from tests.docker.acts import (
    WAIT,
    assert_dropped,
    assert_nothing_left,
    container_of,
    folder_of,
    go,
    wait_for,
)
from tests.docker.registry import Registry
from tests.engine_view import WORKER_LABEL
from tests.images import DEFAULT, busybox_image, remove_image
from tests.service_view import GOOD, details, told
from tests.worker_process import WorkerProcess, until

pytestmark = pytest.mark.docker

CONTENT = b"0123456789" * 5000
LABEL = "org.decode.jobfetcher."
SOON = 30.0
"""Seconds within which a cancelled container is gone: two for its grace, the others for a busy machine."""


@pytest.fixture(autouse=True)
def local_image(image: str) -> str:
    """The image that jobs name if not told otherwise. It is in no registry."""
    return image


def submit(mock: MockServer, *cmd: str, **more: Any) -> int:
    mock.control.put_file("/user/x", CONTENT)
    job = {"files_down": {"data/x": "/user/x"}, "files_up": {"output": "output"}, "image": DEFAULT}
    return mock.control.submit(**{**job, "cmd": list(cmd), **more})


def began(mock: MockServer, worker: WorkerProcess, job: int, run: int = 1) -> None:
    """Wait until the container of that run does what it is to do."""
    mock.control.wait_status(job, "running", timeout_seconds=60)
    folder_of(worker.base, run)


@pytest.mark.row(35)
@pytest.mark.parametrize("trap", ["", "trap '' TERM;"], ids=["obeys", "ignores SIGTERM"])
def test_a_deleted_job_ends_within_seconds(mock: MockServer, worker: WorkerProcess, trap: str) -> None:
    """The container is stopped and removed, nothing is uploaded, and no word follows the 404."""
    job = submit(mock, trap, "echo out > /files/output/out;", WAIT)
    worker.start()
    began(mock, worker, job)

    mock.control.delete_job(job)

    assert_nothing_left(worker.base, SOON)
    assert_dropped(mock, worker, job)


@pytest.mark.row(34)
def test_a_job_deleted_while_the_worker_is_down_is_dropped(mock: MockServer, worker: WorkerProcess) -> None:
    """The next worker asks first; the container that went on meanwhile ends with nothing uploaded."""
    job = submit(mock, "echo out > /files/output/out;", WAIT)
    worker.start()
    began(mock, worker, job)
    worker.kill()
    mock.control.delete_job(job)

    worker.start()

    assert_dropped(mock, worker, job)


@pytest.mark.row(22)
def test_a_container_removed_by_somebody_runs_again(
    client: docker.DockerClient, mock: MockServer, worker: WorkerProcess
) -> None:
    """The second run begins from clean inputs in a folder of its own, and the API sees nothing go back."""
    job = submit(
        mock,
        "cp /files/data/x /files/output/x; echo spoiled > /files/data/x;",
        "echo start >> /files/output/starts;",
        WAIT,
    )
    worker.start()
    began(mock, worker, job)
    container_of(client, worker.base).remove(force=True)
    go(worker.base, run=2)

    wait_for(mock, job, "finished")

    assert told(mock, job) == GOOD
    assert mock.control.violations() == []
    assert mock.control.uploaded(job, "output/output/x") == CONTENT
    assert mock.control.uploaded(job, "output/output/starts") == b"start\n"
    assert_nothing_left(worker.base)


@pytest.mark.row(22)
def test_a_container_removed_again_and_again_is_given_up(
    client: docker.DockerClient, mock: MockServer, worker: WorkerProcess
) -> None:
    """After the last rerun the job ends in a sentence that says what happened."""
    job = submit(mock, WAIT)
    worker.start()
    for run in range(1, MAX_RERUNS + 2):
        began(mock, worker, job, run)
        container_of(client, worker.base).remove(force=True)

    wait_for(mock, job, "error")

    assert details(mock, job) == "The container was removed by somebody while it ran."
    assert told(mock, job) == ["preprocessing", "running", "error"]
    assert mock.control.violations() == []
    assert_nothing_left(worker.base)


@pytest.mark.row(11)
def test_an_image_that_does_not_exist(mock: MockServer, worker: WorkerProcess, registry: Registry) -> None:
    """The owner reads the registry's reason, and the next job runs."""
    image = registry.image("nobody/pushed-this:latest")
    bad = submit(mock, "true", image=image)
    good = submit(mock, "cp /files/data/x /files/output/")
    worker.start()

    wait_for(mock, bad, "error")
    wait_for(mock, good, "finished")

    said = details(mock, bad)
    assert said.startswith(f"The image '{image}' cannot be pulled: ")
    assert "manifest unknown" in said
    assert mock.control.uploads(bad) == []


def test_a_command_that_does_not_exist(mock: MockServer, worker: WorkerProcess) -> None:
    """Exit code 127, and what the shell said of it."""
    job = submit(mock, "exec 2>&1; echo first; no-such-program --fit")
    worker.start()

    wait_for(mock, job, "error")

    assert details(mock, job).splitlines() == [
        "The job's command ended with exit code 127.",
        "The last lines of its log:",
        "first",
        "/bin/sh: no-such-program: not found",
    ]


@pytest.mark.row(21)
def test_a_paused_container_is_kept_alive(
    client: docker.DockerClient, mock: MockServer, worker: WorkerProcess
) -> None:
    """For the API the job runs on; after the pause it finishes as if nothing had been."""
    job = submit(mock, WAIT, "cp /files/data/x /files/output/")
    worker.start()
    began(mock, worker, job)
    container = container_of(client, worker.base)
    container.pause()
    heard = len(mock.control.statuses(job))
    go(worker.base)
    until("three keep-alives", lambda: len(mock.control.statuses(job)) >= heard + 3)
    assert told(mock, job) == ["preprocessing", "running"]
    container.unpause()

    wait_for(mock, job, "finished")

    assert mock.control.uploaded(job, "output/output/x") == CONTENT
    assert told(mock, job) == GOOD
    assert mock.control.violations() == []


def test_an_image_with_a_command_of_its_own(mock: MockServer, worker: WorkerProcess) -> None:
    """A job without a command runs the image's; what it prints is the log. No files are needed."""
    job = submit(mock, cmd=None, files_down=None, files_up=None)
    worker.start()

    wait_for(mock, job, "finished")

    assert mock.control.uploaded(job, "log/log/container.log") == b"the image itself\n"


@pytest.fixture
def somebody_s_image() -> Iterator[str]:
    """An image whose processes are not root."""
    name = f"jobfetcher-test/user:{uuid.uuid4().hex[:8]}"
    busybox_image(name, changes=["USER 1234:1234"])
    yield name
    remove_image(name)


def test_an_image_whose_user_is_not_root(
    mock: MockServer, worker: WorkerProcess, somebody_s_image: str
) -> None:
    """It reads its inputs and writes into its output folders and beside them; other accounts of this machine
    do not get at the files."""
    job = submit(
        mock,
        WAIT,
        "mkdir -p /files/output/a/b /files/more; echo deep > /files/results/deep/x;",
        "cp /files/data/x /files/output/a/b/x; id -u > /files/output/id",
        image=somebody_s_image,
        files_up={"output": "output", "artifact": "results/deep"},
    )
    worker.start()
    around = folder_of(worker.base).parent
    assert stat.S_IMODE(around.stat().st_mode) == 0o700
    go(worker.base)

    wait_for(mock, job, "finished")

    assert mock.control.uploaded(job, "output/output/a/b/x") == CONTENT
    assert mock.control.uploaded(job, "output/output/id") == b"1234\n"
    assert mock.control.uploaded(job, "artifact/results/deep/x") == b"deep\n"
    assert_nothing_left(worker.base)


def test_a_long_log_arrives_whole(mock: MockServer, worker: WorkerProcess) -> None:
    """Megabytes of output, line by line and in one line without an end."""
    job = submit(mock, "seq 1 200000; head -c 2000000 /dev/zero | tr '\\0' x")
    worker.start()

    wait_for(mock, job, "finished")

    lines = "".join(f"{number}\n" for number in range(1, 200001)) + "x" * 2000000
    assert mock.control.uploaded(job, "log/log/container.log") == lines.encode()


@pytest.mark.row(55)
def test_containers_of_others_are_left_alone(
    client: docker.DockerClient, mock: MockServer, worker: WorkerProcess
) -> None:
    """One of another worker, and one that only looks as if it were ours, outlive every sweep."""
    other = uuid.uuid4().hex[:8]
    theirs = {WORKER_LABEL: other, f"{LABEL}run": f"jobfetcher-{other}-1-1"}
    worker.start()
    until("the worker's name", (worker.base / "worker-id").exists)
    ours = (worker.base / "worker-id").read_text().strip()
    made = [
        client.containers.run(DEFAULT, ["sleep", "600"], name=name, labels=labels, detach=True)
        for name, labels in ((theirs[f"{LABEL}run"], theirs), (f"jobfetcher-{ours}-9-1", {}))
    ]
    try:
        for _ in range(2):
            wait_for(mock, submit(mock, "true"), "finished")
            assert_nothing_left(worker.base)
        for container in made:
            container.reload()

        assert [container.status for container in made] == ["running", "running"]
    finally:
        for container in made:
            container.remove(force=True)


def test_a_job_killed_for_memory(
    client: docker.DockerClient, mock: MockServer, worker: WorkerProcess
) -> None:
    """The owner reads that it was memory, and how much there was."""
    job = submit(mock, WAIT, "echo out > /files/output/out; exec tail /dev/zero")
    worker.start()
    began(mock, worker, job)
    container_of(client, worker.base).update(mem_limit="32m", memswap_limit="32m")
    go(worker.base)

    wait_for(mock, job, "error")

    assert details(mock, job).startswith("killed: out of memory (limit 32 MiB)")
    assert mock.control.uploaded(job, "output/output/out") == b"out\n"
