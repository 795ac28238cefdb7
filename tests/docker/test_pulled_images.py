"""A worker that runs out of disk removes the images that it has pulled itself, and those alone."""

import uuid

import docker
import docker.errors
import pytest

from mock_api.client import MockServer
from tests.docker.acts import WAIT, assert_nothing_left, folder_of, go, wait_for
from tests.docker.registry import Registry
from tests.service_view import GOOD, told
from tests.worker_process import WorkerProcess, until

pytestmark = pytest.mark.docker

MORE_THAN_THERE_IS = str(10**9)
"""MiB to keep free: there is never enough."""


def submit(mock: MockServer, image: str, *cmd: str) -> int:
    return mock.control.submit(image=image, cmd=list(cmd) or ["true"], files_up={"output": "output"})


def run_one(mock: MockServer, image: str) -> None:
    job = submit(mock, image)
    wait_for(mock, job, "finished")
    assert told(mock, job) == GOOD


def there(client: docker.DockerClient, *images: str) -> list[bool]:
    """Whether the engine has each of them."""
    found = []
    for image in images:
        try:
            client.images.get(image)
            found.append(True)
        except docker.errors.ImageNotFound:
            found.append(False)
    return found


def published(registry: Registry, name: str) -> str:
    """An image like no other, in the registry alone."""
    tag = uuid.uuid4().hex[:8]
    return registry.publish(f"{name}:{tag}", {"/bin/own": f"#!/bin/sh\necho {tag}\n"})


@pytest.mark.row(9)
def test_images_make_room_before_jobs_wait(
    client: docker.DockerClient, mock: MockServer, worker: WorkerProcess, registry: Registry
) -> None:
    """What no job needs and our pulls have brought goes first; then the worker says that it waits. Once there
    is room it goes on, and pulls anew what it needs."""
    one, two, kept, theirs = (
        published(registry, f"some/{name}") for name in ("one", "two", "kept", "theirs")
    )
    client.images.pull(theirs)  # as their owner did before
    worker.start(MAX_JOBS="2")
    for image in (one, two, theirs):
        run_one(mock, image)
    waiting = submit(mock, kept, WAIT)
    mock.control.wait_status(waiting, "running", timeout_seconds=60)
    folder_of(worker.base)
    assert there(client, one, two, kept, theirs) == [True] * 4
    worker.kill()

    last = submit(mock, one)
    worker.start(MIN_FREE_DISK=MORE_THAN_THERE_IS, MAX_JOBS="2")
    until("the worker to say why it waits", lambda: "fetch.postponed" in worker.log.read_text())

    assert there(client, one, two, kept, theirs) == [False, False, True, True]
    assert told(mock, last) == []
    removed = [line for line in worker.log.read_text().splitlines() if '"image.removed"' in line]
    assert [image in line for image, line in zip((one, two), removed, strict=True)] == [True, True]
    worker.kill()

    worker.start(MAX_JOBS="2")
    wait_for(mock, last, "finished")
    go(worker.base)
    wait_for(mock, waiting, "finished")
    assert (told(mock, last), told(mock, waiting)) == (GOOD, GOOD)
    assert_nothing_left(worker.base)


def test_an_image_that_two_jobs_pull_at_once(
    client: docker.DockerClient, mock: MockServer, worker: WorkerProcess, registry: Registry
) -> None:
    """Both run; it is known as ours once, and goes when there is no room."""
    image = published(registry, "ours/both")
    jobs = [submit(mock, image, "own > /files/output/x") for _ in range(2)]
    worker.start(MAX_JOBS="2")
    for job in jobs:
        wait_for(mock, job, "finished")
    assert_nothing_left(worker.base)
    worker.kill()
    said = [mock.control.uploaded(job, "output/output/x") for job in jobs]
    assert said == [f"{image.rpartition(':')[2]}\n".encode()] * 2

    worker.start(MIN_FREE_DISK=MORE_THAN_THERE_IS)
    until("the image to go", lambda: there(client, image) == [False])
