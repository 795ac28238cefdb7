"""Builds the images that are made from this tree. Several test processes may do so at once on one engine."""

import contextlib
import fcntl
import os
import re
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import docker
from docker.models.images import Image

ROOT = Path(__file__).parent.parent.parent
MOCK_DOCKERFILE = "deploy/mock.Dockerfile"
_MINE = uuid.uuid4().hex[:8]
NAME = f"jobfetcher-test/worker:{_MINE}"
"""Each test process has a name of its own; the image behind it is the same."""
MOCK = f"jobfetcher-test/mock:{_MINE}"
_LOCK = Path(tempfile.gettempdir()) / f"jobfetcher-test-image-{os.getuid()}.lock"


def base_of(dockerfile: str = "Dockerfile") -> str:
    """The image that it is built on, if nobody names another one."""
    [base] = re.findall(r"^ARG BASE=(.+)$", (ROOT / dockerfile).read_text(), re.MULTILINE)
    return str(base)


@contextlib.contextmanager
def worker_image(client: docker.DockerClient) -> Iterator[Image]:
    """The image, built from the working tree. The engine's cache of layers makes it quick the next time."""
    with _image(client, "Dockerfile", NAME, stage="build") as built:
        yield built


@contextlib.contextmanager
def mock_image(client: docker.DockerClient) -> Iterator[Image]:
    """The mock's image, likewise."""
    with _image(client, MOCK_DOCKERFILE, MOCK, stage="mock-build") as built:
        yield built


@contextlib.contextmanager
def _image(client: docker.DockerClient, dockerfile: str, name: str, stage: str) -> Iterator[Image]:
    with _alone():
        subprocess.run([ROOT / ".ci" / "base-image.sh", base_of(dockerfile)], check=True)
        built, _ = client.images.build(path=str(ROOT), dockerfile=dockerfile, tag=name, rm=True, forcerm=True)
    yield built
    with _alone():
        client.images.remove(name, force=True)
        stages = client.images.list(filters={"dangling": True, "label": f"org.decode.jobfetcher={stage}"})
        for outdated in stages[1:]:  # the newest one is the cache
            client.images.remove(str(outdated.id))


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """No other test process builds or cleans up in the meantime."""
    with _LOCK.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
