"""The whole worker with real pulls from a registry."""

import docker
import pytest

from mock_api.client import MockServer
from tests.docker.acts import wait_for
from tests.docker.registry import Registry
from tests.service_view import GOOD, details, told
from tests.worker_process import WorkerProcess

pytestmark = pytest.mark.docker

SHOW = "/bin/show"


def submit(mock: MockServer, image: str) -> int:
    return mock.control.submit(
        image=image,
        cmd=["echo start >> /files/output/starts;", f"{SHOW} > /files/output/shown"],
        files_up={"output": "output"},
    )


def said(mock: MockServer, job: int) -> str:
    """What the program of the image printed, in a run that was the only one."""
    assert told(mock, job) == GOOD
    assert mock.control.violations() == []
    assert mock.control.uploaded(job, "output/output/starts") == b"start\n"
    return mock.control.uploaded(job, "output/output/shown").decode().strip()


def program(answer: str) -> dict[str, str]:
    return {SHOW: f"#!/bin/sh\necho {answer}\n"}


def test_a_tag_that_moves(mock: MockServer, worker: WorkerProcess, registry: Registry) -> None:
    """An image that only the registry has is pulled; once its tag has moved, the new one is."""
    image = registry.publish("moving/tag:latest", program("old"))
    worker.start()
    first = submit(mock, image)
    wait_for(mock, first, "finished")
    registry.publish("moving/tag:latest", program("new"))
    second = submit(mock, image)
    wait_for(mock, second, "finished")

    assert [said(mock, first), said(mock, second)] == ["old", "new"]


def test_without_a_tag_it_is_the_latest(mock: MockServer, worker: WorkerProcess, registry: Registry) -> None:
    """A port in the registry's name is not taken for a tag, and other tags are not pulled."""
    registry.publish("plain/name:other", program("other"))
    image = registry.publish("plain/name:latest", program("latest")).removesuffix(":latest")
    worker.start()

    job = submit(mock, image)
    wait_for(mock, job, "finished")

    assert said(mock, job) == "latest"


@pytest.mark.row(10)
def test_a_worker_killed_after_a_pull_pulls_again(
    client: docker.DockerClient, mock: MockServer, worker: WorkerProcess, registry: Registry
) -> None:
    """The job runs once, from the image it names."""
    image = registry.publish("killed/after-pull:1", program("whole"))
    job = submit(mock, image)
    worker.start(failpoints="docker.pulled=kill")
    assert worker.killed_itself()
    assert told(mock, job) == ["preprocessing"]

    worker.start()
    wait_for(mock, job, "finished")

    assert said(mock, job) == "whole"
    assert client.images.get(image).tags == [image]


@pytest.mark.row(11)
def test_a_tag_that_does_not_exist(mock: MockServer, worker: WorkerProcess, registry: Registry) -> None:
    """The owner reads what the registry said of it."""
    image = registry.publish("missing/tag:there", program("there")).replace(":there", ":not-there")
    job = submit(mock, image)
    worker.start()

    wait_for(mock, job, "error")

    name = image.rpartition(":")[0]
    assert details(mock, job) == (
        f"The image '{image}' cannot be pulled: manifest for {name}:not-there not found: "
        "manifest unknown: manifest unknown."
    )
    assert told(mock, job) == ["preprocessing", "error"]
    assert mock.control.violations() == []
