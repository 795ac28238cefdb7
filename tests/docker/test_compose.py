"""``deploy/compose.yaml``: what its head says is done, with Docker's plugin or with the older program."""

import json
import os
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.models.images import Image

from tests.docker.worker_image import MOCK, NAME, mock_image
from tests.engine_view import remove_all_of
from tests.images import DEFAULT
from tests.worker_process import until

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]

DEPLOY = Path(__file__).parents[2] / "deploy"
SOCKET = Path("/var/run/docker.sock")


class Compose:
    """Compose in the folder of the file, for a project of its own. As an account that is not root."""

    def __init__(self, **variables: str) -> None:
        plugin = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
        self._command = ["docker-compose"] if plugin.returncode else ["docker", "compose"]
        self._environ = {
            **os.environ,
            "COMPOSE_PROJECT_NAME": f"jobfetcher-test-{uuid.uuid4().hex[:8]}",
            "WORKER_IMAGE": NAME,
            "MOCK_IMAGE": MOCK,
            "JOB_IMAGE": DEFAULT,
            "WORKER_USER": "1000:1000",
            "DOCKER_GID": str(SOCKET.stat().st_gid),
            **variables,
        }

    def __call__(self, *arguments: str) -> str:
        """What it printed; it must end well."""
        done = subprocess.run(
            [*self._command, *arguments],
            cwd=DEPLOY,
            env=self._environ,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture
def compose(client: docker.DockerClient, built_image: Image, image: str) -> Iterator[Compose]:
    """Compose with all images there; what it made is removed."""
    with mock_image(client):
        made = Compose()
        yield made
        made("--env-file", "mock.env", "--profile", "mock", "down", "--volumes", "--timeout", "10")


def test_a_whole_system_comes_up_and_does_its_job(compose: Compose) -> None:
    """The mock, the worker and one job, by the command in the file's head; the worker is well."""
    mocked = ("--env-file", "mock.env", "--profile", "mock")
    inside = (*mocked, "exec", "-T", "worker")
    compose(*mocked, "up", "--detach", "--no-build")

    def ended() -> list[dict[str, Any]]:
        jobs: list[dict[str, Any]] = json.loads(compose(*inside, "jobfetcher", "jobs", "--json"))
        return [job for job in jobs if job["state"] in ("finished", "error")]

    until("a database", lambda: "jobfetcher.db" in compose(*inside, "ls", "/data"))
    worker = compose(*inside, "cat", "/data/worker-id").strip()
    try:
        [job] = until("the job's end", ended)
        checks = json.loads(compose(*inside, "jobfetcher", "doctor", "--json"))
    finally:
        remove_all_of(worker)

    assert (job["state"], checks["ok"]) == ("finished", True)
    assert compose(*inside, "id", "-u").strip() == "1000"


def test_gpus_are_an_override() -> None:
    """With the second file the worker gets them all; without it none is asked for."""
    compose = Compose()
    plain = compose("--env-file", "mock.env", "config")
    files = ("-f", "compose.yaml", "-f", "compose.gpu.yaml")
    with_gpus = compose(*files, "--env-file", "mock.env", "config")

    assert ("nvidia" in plain, "driver: nvidia" in with_gpus) == (False, True)


def test_a_folder_of_the_host_is_used_where_one_is_named() -> None:
    """``PATH_HOST_BASE`` of the settings is what is mounted; else a volume is."""
    volume, folder = (
        Compose(**named)("--env-file", "mock.env", "config")
        for named in ({}, {"PATH_HOST_BASE": "/srv/jobfetcher"})
    )

    assert ("/srv/jobfetcher" in volume, "/srv/jobfetcher" in folder) == (False, True)
