"""The worker in a container of its own image, as it is run in production, with its jobs beside it.

The base folder has one path in the worker's container and another on the host, where the engine is. The
worker finds out which, unless PATH_HOST_BASE says it.
"""

import hashlib
import json
import os
import random
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.models.containers import Container
from docker.models.images import Image

from mock_api.client import TOKEN, MockServer
from tests.docker.acts import WAIT, assert_nothing_left, container_of, wait_for
from tests.engine_view import remove_all_below, running_of
from tests.images import DEFAULT
from tests.service_view import GOOD, told
from tests.worker_process import until

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]

BASE = "/data"
EXISTING = Path(__file__).parents[1] / "data" / "existing-worker.env"
SOCKET = "/var/run/docker.sock"
SECOND = 10**9
"""In the engine's nanoseconds."""
STOP_SECONDS = 10
"""What ``docker stop`` gives a container by default."""
CONTENT = random.Random(11).randbytes(3_000_000)


class Host:
    """Runs workers one after the other over one folder of the host, which the engine calls ``source``."""

    def __init__(
        self, client: docker.DockerClient, image: Image, folder: Path, mock: MockServer, source: str = ""
    ) -> None:
        self.client, self.image, self.folder, self.mock = client, image, folder, mock
        self.source = source or str(folder)
        self._stack = ExitStack()

    def __enter__(self) -> "Host":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        remove_all_below(self.folder)

    def docker_run(
        self,
        *command: str,
        path_host_base: str = "",
        environment: dict[str, str] | None = None,
        **options: Any,
    ) -> Container:
        """``docker run -v FOLDER:/data -v SOCKET -e ... IMAGE``. On the host's network, where the mock is."""
        container = self.client.containers.run(
            str(self.image.id),
            list(command),
            detach=True,
            name=f"jobfetcher-test-worker-{uuid.uuid4().hex[:8]}",
            network_mode="host",
            volumes=[f"{self.source}:{BASE}", f"{SOCKET}:{SOCKET}"],
            environment=environment
            or {
                "API_URL": self.mock.url,
                "ACCESS_TOKEN": TOKEN,
                "PATH_HOST_BASE": path_host_base,
                "TIMEOUT_JOB": "0.2",
                "TIMEOUT_STATUS": "1",
                "NETWORK": "none",
                "MIN_FREE_DISK": "0",
            },
            # Only how often: what is checked is the image's own.
            healthcheck={"interval": SECOND // 2, "timeout": 5 * SECOND, "retries": 120},
            **options,
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


def do_a_job(host: Host) -> None:
    """One job from its beginning to a perfect end."""
    job = host.submit()
    go(host.job_began(job))
    host.assert_perfect(job)


def told_of_its_folder(worker: Container) -> tuple[str, str]:
    """What the worker logs about its folder on the host, and how it found that out."""
    lines = [json.loads(line) for line in worker.logs().decode().splitlines() if line.startswith("{")]
    [line] = [line for line in lines if line["event"] == "worker.host-folder"]
    assert line["level"] == "INFO"
    return line["folder"], line["found_by"]


def found_in(worker: Container) -> str:
    """How a worker says that it found its folder by itself."""
    return f"the mounts of container {str(worker.id)[:12]}"


def test_it_does_jobs_and_is_healthy(host: Host) -> None:
    """Files lie under one path for the worker and under another for the engine; it finds out which."""
    worker = host.docker_run()
    do_a_job(host)

    until("a healthy worker", lambda: health(worker) == "healthy")
    assert told_of_its_folder(worker) == (str(host.folder), found_in(worker))


def test_path_host_base_is_believed(host: Host) -> None:
    """Where the variable is set it is taken as it is, as by the existing worker."""
    worker = host.docker_run(path_host_base=str(host.folder))
    do_a_job(host)

    assert told_of_its_folder(worker) == (str(host.folder), "PATH_HOST_BASE")


def env_file(text: str) -> dict[str, str]:
    """As ``docker run --env-file`` reads it: comments behind a value, and quotes, belong to the value."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def test_the_existing_workers_file_and_command_work(host: Host) -> None:
    """``docker run --env-file .env`` with the existing worker's file, its comments included."""
    text = EXISTING.read_text().replace("ACCESS_TOKEN=", f"ACCESS_TOKEN={TOKEN}")
    text = text.replace("/srv/jobs ", f"{host.folder} ").replace("https://api.example.org:443", host.mock.url)
    job = host.submit()

    worker = host.docker_run(environment=env_file(text))

    go(host.job_began(job))
    host.assert_perfect(job)
    assert told_of_its_folder(worker) == (str(host.folder), "PATH_HOST_BASE")


@pytest.mark.root  # nobody else may look into the engine's volumes
def test_a_named_volume_will_do(
    client: docker.DockerClient, built_image: Image, image: str, mock: MockServer
) -> None:
    """The folder lies in a volume of the engine's, which only the engine knows the place of."""
    volume = client.volumes.create(f"jobfetcher-test-{uuid.uuid4().hex[:8]}")
    folder = Path(volume.attrs["Mountpoint"])
    try:
        with Host(client, built_image, folder, mock, source=str(volume.name)) as host:
            worker = host.docker_run()
            do_a_job(host)

            assert told_of_its_folder(worker)[0] == str(folder)
    finally:
        volume.remove(force=True)


def as_plain_user(folder: Path) -> dict[str, Any]:
    """Options of ``docker run`` for an account that is not root and owns ``folder``."""
    owner = os.getuid() or 1000
    os.chown(folder, owner, -1)
    return {"user": f"{owner}:{owner}", "group_add": [Path(SOCKET).stat().st_gid]}


def test_it_need_not_be_root(host: Host) -> None:
    """An ordinary account that owns the folder and has the socket's group does jobs and cleans up."""
    worker = host.docker_run(**as_plain_user(host.folder))
    do_a_job(host)

    assert worker.exec_run(["id", "-u"]).output != b"0\n"
    assert (host.folder / "jobfetcher.db").stat().st_uid != 0


def test_without_the_sockets_group_it_waits_and_says_so(host: Host) -> None:
    """Neither crash nor lost job: the log has the sentence, and no job is fetched."""
    worker = host.docker_run(**{**as_plain_user(host.folder), "group_add": []})
    job = host.submit()

    until("the sentence", lambda: b"No permission on the Docker engine" in worker.logs())
    assert host.mock.control.statuses(job) == []


def test_doctor_looks_from_within(host: Host) -> None:
    """``docker run IMAGE doctor`` finds nothing amiss, and names the folder on the host."""
    doctor = host.docker_run("doctor", "--json")
    assert doctor.wait()["StatusCode"] == 0, doctor.logs()
    checks = {check["name"]: check for check in json.loads(doctor.logs(stderr=False))["checks"]}

    assert checks["files"]["status"] == "ok"
    assert checks["files"]["found"].endswith(f"arrives in {BASE}, which Docker knows as {host.folder}")


def test_doctor_warns_of_a_folder_that_is_lost_with_the_container(
    client: docker.DockerClient, built_image: Image, image: str, mock: MockServer
) -> None:
    """Started without a folder: jobs could not see their files, and the sentence says how to mount one."""
    doctor = client.containers.run(
        str(built_image.id),
        ["doctor", "--json", "--image", image],
        detach=True,
        network_mode="host",
        volumes=[f"{SOCKET}:{SOCKET}"],
        environment={"API_URL": mock.url, "ACCESS_TOKEN": TOKEN},
    )
    try:
        code = doctor.wait()["StatusCode"]
        checks = {check["name"]: check for check in json.loads(doctor.logs(stderr=False))["checks"]}
    finally:
        doctor.remove(force=True)

    assert (code, checks["files"]["status"]) == (1, "failed")
    assert checks["files"]["found"].startswith(f"{BASE} is no mounted folder")
    assert f"-v /srv/jobfetcher:{BASE}" in checks["files"]["mend"]


def test_config_tells_how_the_folder_was_found(host: Host) -> None:
    """The value and where it came from, as of any other setting."""
    config = host.docker_run("config", "--json")
    assert config.wait()["StatusCode"] == 0, config.logs()
    [row] = [row for row in json.loads(config.logs(stderr=False)) if row["name"] == "PATH_HOST_BASE"]

    assert (row["value"], row["from"]) == (str(host.folder), found_in(config))


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
