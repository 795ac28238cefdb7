"""What the tests against a real engine share: its client, images, a registry and a worker."""

from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
from docker.models.images import Image

from mock_api.client import MockServer
from tests.docker.registry import Registry
from tests.docker.worker_image import worker_image
from tests.engine_view import remove_all_below
from tests.worker_process import WorkerProcess


@pytest.fixture(scope="session")
def client() -> Iterator[docker.DockerClient]:
    client = docker.from_env()
    yield client
    client.close()


@pytest.fixture(scope="session")
def built_image(client: docker.DockerClient) -> Iterator[Image]:
    """The worker's own image, built once."""
    with worker_image(client) as built:
        yield built


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry to pull from; what was pulled is removed at the end."""
    with Registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture
def worker(tmp_path: Path, mock: MockServer) -> Iterator[WorkerProcess]:
    """A worker with containers, not yet started. What it leaves in the engine is removed at the end."""
    with WorkerProcess(tmp_path / "worker", mock.url, RUNNER="docker", STOP_GRACE="2") as made:
        yield made
    remove_all_below(made.base)
