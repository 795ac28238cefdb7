"""The worker in a container of its own image, as it is run in production, with its jobs beside it.

The base folder has one path in the worker's container and another on the host, where the engine is.
"""

import hashlib
import random
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import docker
import pytest
from docker.models.containers import Container
from docker.models.images import Image

from mock_api.client import TOKEN, MockServer
from tests.docker.acts import GOOD, WAIT, assert_nothing_left, container_of, told, wait_for
from tests.engine_view import remove_all_of, running_of
from tests.images import DEFAULT
from tests.worker_process import until

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]

BASE = "/data"
SOCKET = "/var/run/docker.sock"
SECOND = 10**9
"""In the engine's nanoseconds."""
STOP_SECONDS = 10
"""What ``docker stop`` gives a container by default."""
CONTENT = random.Random(11).randbytes(3_000_000)


class Host:
    """Runs workers one after the other over one folder of the host."""

    def __init__(self, client: docker.DockerClient, image: Image, folder: Path, mock: MockServer) -> None:
        self.client, self.image, self.folder, self.mock = client, image, folder, mock
        self._stack = ExitStack()

    def __enter__(self) -> "Host":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        if (named := self.folder / "worker-id").exists():
            remove_all_of(named.read_text().strip())

    def docker_run(self) -> Container:
        """``docker run -v FOLDER:/data -v SOCKET -e ... IMAGE``. On the host's network, where the mock is."""
        container = self.client.containers.run(
            str(self.image.id),
            detach=True,
            name=f"jobfetcher-test-worker-{uuid.uuid4().hex[:8]}",
            network_mode="host",
            volumes=[f"{self.folder}:{BASE}", f"{SOCKET}:{SOCKET}"],
            environment={
                "API_URL": self.mock.url,
                "ACCESS_TOKEN": TOKEN,
                "PATH_BASE": BASE,
                "PATH_HOST_BASE": str(self.folder),
                "TIMEOUT_JOB": "0.2",
                "TIMEOUT_STATUS": "1",
                "NETWORK": "none",
                "MIN_FREE_DISK": "0",
            },
            # Only how often: what is checked is the image's own.
            healthcheck={"interval": SECOND // 2, "timeout": 5 * SECOND, "retries": 120},
        )
        self._stack.callback(container.remove, force=True)
        return container

    def submit(self) -> int:
        """Queue a job that waits, and then copies its input."""
        self.mock.control.put_file("/user/x.bin", CONTENT)
        return self.mock.control.submit(
            image=DEFAULT,
            cmd=["echo start >> /files/output/starts;", WAIT, "cp /files/data/x.bin /files/output/"],
            files_down={"data/x.bin": "/user/x.bin"},
            files_up={"output": "output"},
        )

    def job_began(self, job: int) -> Container:
        """Wait for the job's container to do what it is to do."""
        self.mock.control.wait_status(job, "running", timeout_seconds=90)
        container: Container = container_of(self.client, self.folder)
        until("the job to begin", lambda: container.exec_run("test -e /files/up").exit_code == 0)
        return container

    def assert_perfect(self, job: int) -> None:
        """The job finished with the right bytes after one start, and left nothing."""
        wait_for(self.mock, job, "finished")
        uploads = {upload.path: upload.sha256 for upload in self.mock.control.uploads(job)}
        assert uploads["output/output/x.bin"] == hashlib.sha256(CONTENT).hexdigest()
        assert uploads["output/output/starts"] == hashlib.sha256(b"start\n").hexdigest()
        assert told(self.mock, job) == GOOD
        assert self.mock.control.violations() == []
        assert_nothing_left(self.folder)


@pytest.fixture
def host(
    client: docker.DockerClient, built_image: Image, image: str, tmp_path: Path, mock: MockServer
) -> Iterator[Host]:
    """A host with the worker's image and the job's image."""
    folder = tmp_path / "base"
    folder.mkdir()
    with Host(client, built_image, folder, mock) as made:
        yield made


def health(container: Container) -> str:
    container.reload()
    return str(container.attrs["State"]["Health"]["Status"])


def go(job_container: Container) -> None:
    """Let the job go on."""
    assert job_container.exec_run("touch /files/go").exit_code == 0


def test_it_does_jobs_and_is_healthy(host: Host) -> None:
    """Files lie under one path for the worker and under another for the engine; both mean the same."""
    worker = host.docker_run()
    job = host.submit()
    running = host.job_began(job)
    go(running)

    host.assert_perfect(job)
    until("a healthy worker", lambda: health(worker) == "healthy")


def test_docker_stop_leaves_the_job_to_the_next_worker(host: Host) -> None:
    """It ends in time with exit code 0, while the job's container runs on; the next worker finishes it."""
    worker = host.docker_run()
    job = host.submit()
    running = host.job_began(job)

    worker.stop(timeout=STOP_SECONDS)

    assert worker.wait()["StatusCode"] == 0, worker.logs()
    assert running_of(running.labels["org.decode.jobfetcher.worker"]) == [running.name]
    go(running)
    host.docker_run()
    host.assert_perfect(job)


@pytest.mark.row(19)
def test_a_killed_worker_is_followed_by_another(host: Host) -> None:
    """``docker kill`` in the middle of a job costs nothing: the container that runs is adopted."""
    worker = host.docker_run()
    job = host.submit()
    running = host.job_began(job)

    worker.kill()
    assert worker.wait()["StatusCode"] == 137

    host.docker_run()
    go(running)
    host.assert_perfect(job)
