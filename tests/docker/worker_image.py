"""Builds the worker's own image. Several test processes may do so at once on one engine."""

import contextlib
import fcntl
import os
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import docker
from docker.models.images import Image

ROOT = Path(__file__).parent.parent.parent
BASE = "python:3.11-slim"
NAME = f"jobfetcher-test/worker:{uuid.uuid4().hex[:8]}"
"""Each test process has a name of its own; the image behind it is the same."""
BUILD_STAGE = {"dangling": True, "label": "org.decode.jobfetcher=build"}
_LOCK = Path(tempfile.gettempdir()) / f"jobfetcher-test-image-{os.getuid()}.lock"


@contextlib.contextmanager
def worker_image(client: docker.DockerClient) -> Iterator[Image]:
    """The image, built from the working tree. The engine's cache of layers makes it quick the next time."""
    with _alone():
        subprocess.run([ROOT / ".ci" / "base-image.sh", BASE], check=True)
        built, _ = client.images.build(path=str(ROOT), tag=NAME, rm=True, forcerm=True)
    yield built
    with _alone():
        client.images.remove(NAME, force=True)
        stages = client.images.list(filters=BUILD_STAGE)
        for outdated in stages[1:]:  # the newest one is the cache
            client.images.remove(str(outdated.id))


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """No other test process builds or cleans up in the meantime."""
    with _LOCK.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
