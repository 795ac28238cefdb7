"""The worker's own image: it is small, whole, and tells whether a worker lives in it."""

import json
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import docker
import pytest
from docker.models.containers import Container
from docker.models.images import Image

from jobfetcher import __version__
from tests.docker.worker_image import MOCK_DOCKERFILE, NAME, base_of, mock_image
from tests.worker_process import until

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]

SLEEP = "print('ready', flush=True); import signal; signal.pause()"
MAKE_THE_LOCK = "import pathlib; file = pathlib.Path('/tmp/jobfetcher.lock').open('a+');"
HOLD_THE_LOCK = MAKE_THE_LOCK + "import fcntl; fcntl.flock(file, fcntl.LOCK_EX);"


@contextmanager
def running(client: docker.DockerClient, code: str) -> Iterator[Container]:
    """A container of the image that has done ``code`` and now sleeps; its base folder is ``/tmp``."""
    container = client.containers.run(
        NAME,
        ["-c", code + SLEEP],
        entrypoint="python",
        environment={"PATH_BASE": "/tmp"},
        detach=True,
        network_mode="none",
        init=True,
    )
    try:
        deadline = time.monotonic() + 60
        while b"ready" not in container.logs():
            assert time.monotonic() < deadline, container.logs()
            time.sleep(0.05)
        yield container
    finally:
        container.remove(force=True)


def said(client: docker.DockerClient, *command: str, entrypoint: str | None = None) -> str:
    """What a container of the image printed, which must end well."""
    output = client.containers.run(
        NAME, list(command), entrypoint=entrypoint, network_mode="none", remove=True
    )
    assert isinstance(output, bytes)
    return output.decode().strip()


def healthy(container: Container) -> bool:
    """What the image's own health check says."""
    assert container.image is not None
    kind, command = container.image.attrs["Config"]["Healthcheck"]["Test"]
    assert kind == "CMD-SHELL"
    return container.exec_run(["/bin/sh", "-c", command]).exit_code == 0


def test_it_is_the_command(client: docker.DockerClient, built_image: Image) -> None:
    """``docker run IMAGE version`` is ``jobfetcher version``."""
    assert said(client, "version") == __version__


def test_it_runs_the_worker_if_not_told_otherwise(built_image: Image) -> None:
    """Without arguments the worker runs, with its base folder at ``/data`` if none is named."""
    config = built_image.attrs["Config"]

    assert (config["Entrypoint"], config["Cmd"]) == (["jobfetcher"], ["run"])
    assert "PATH_BASE=/data" in config["Env"]


def test_it_is_small(client: docker.DockerClient, built_image: Image) -> None:
    """All that comes on top of Python's own image is less than 100 MB."""
    added = built_image.attrs["Size"] - client.images.get(base_of()).attrs["Size"]
    print(f"The image has {built_image.attrs['Size'] / 1e6:.0f} MB, {added / 1e6:.0f} MB of them its own.")

    assert added < 100e6


def test_its_base_is_pinned() -> None:
    """To one version of Python and of the system; the mock's image to the same."""
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-[a-z]+", base_of())
    assert base_of(MOCK_DOCKERFILE) == base_of()


def test_it_says_what_it_is(built_image: Image) -> None:
    """By the labels that registries and their viewers know."""
    labels = built_image.labels
    kinds = ("title", "description", "licenses", "version", "revision")

    assert [kind for kind in kinds if not labels.get(f"org.opencontainers.image.{kind}")] == []


def test_make_names_version_and_revision() -> None:
    """``make image`` builds with the version that the package has, and says how big the image is."""
    done = subprocess.run(["make", "-n", "image"], cwd=ROOT, capture_output=True, text=True, check=True)

    assert "--build-arg VERSION=$(sed" in done.stdout
    assert "--build-arg REVISION=$(git describe" in done.stdout
    assert "MB" in done.stdout


def test_it_has_an_account_that_is_not_root(client: docker.DockerClient, built_image: Image) -> None:
    """Its own folder belongs to it, and so does a new volume that is mounted there."""
    seen = said(client, "-c", "id -u jobfetcher; stat -c %U /data", entrypoint="/bin/sh")

    assert seen.split() == ["1000", "jobfetcher"]


def test_the_mocks_image_serves(client: docker.DockerClient) -> None:
    """As an account that is not root; its own health check finds it well, and it ends when told to."""
    with mock_image(client) as built:
        mock = client.containers.run(str(built.id), detach=True, network_mode="none")
        try:
            until("a healthy mock", lambda: health(mock) == "healthy")
            user = mock.exec_run(["id", "-un"]).output
            mock.stop(timeout=30)
            code = mock.wait()["StatusCode"]
        finally:
            mock.remove(force=True)

    assert (user, code) == (b"mock\n", 0)


def health(container: Container) -> str:
    container.reload()
    return str(container.attrs["State"]["Health"]["Status"])


def test_of_amazons_services_it_knows_how_to_log_in(client: docker.DockerClient, built_image: Image) -> None:
    """Only the descriptions of other services are left out: a login's client is made as ever."""
    code = (
        "import boto3, json; client = boto3.client('cognito-idp', region_name='eu-central-1');"
        "print(json.dumps([boto3.Session().get_available_services(), client.meta.endpoint_url]))"
    )

    assert json.loads(said(client, "-c", code, entrypoint="python")) == [
        ["cognito-idp"],
        "https://cognito-idp.eu-central-1.amazonaws.com",
    ]


def test_it_carries_no_tools_of_the_developers(client: docker.DockerClient, built_image: Image) -> None:
    """Neither tests nor their libraries, nor pip beside the worker, are in it."""
    code = (
        "import importlib.util as u, json; names = 'tests', 'pytest', 'hypothesis', 'moto', 'mypy', 'pip';"
        "print(json.dumps([name for name in names if u.find_spec(name)]))"
    )

    assert json.loads(said(client, "-c", code, entrypoint="python")) == []


@pytest.mark.parametrize("code", ["", MAKE_THE_LOCK], ids=["no lock", "a lock that nobody holds"])
def test_it_is_unhealthy_without_a_worker(client: docker.DockerClient, built_image: Image, code: str) -> None:
    """No lock file, or one that nobody holds: no worker lives here."""
    with running(client, code) as container:
        assert not healthy(container)


def test_it_is_healthy_while_a_worker_holds_its_lock(client: docker.DockerClient, built_image: Image) -> None:
    """The lock that dies with the worker is the sign of life."""
    with running(client, HOLD_THE_LOCK) as container:
        assert healthy(container)


def test_the_locks_agree(client: docker.DockerClient, built_image: Image) -> None:
    """What the image's check looks for is the lock that the worker itself takes."""
    code = (
        "import pathlib, re; from jobfetcher.lock import state_lock\n"
        "folder = pathlib.Path('/tmp')\n"
        "with state_lock(folder):\n"
        "    inode = (folder / 'jobfetcher.lock').stat().st_ino\n"
        "    print(bool(re.search(f'FLOCK.*:{inode} ', pathlib.Path('/proc/locks').read_text())))"
    )

    assert said(client, "-c", code, entrypoint="python") == "True"
