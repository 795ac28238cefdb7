"""The last lines of a container, as the status page asks a real engine for them."""

from pathlib import Path

import docker
import pytest

from jobfetcher.runners.docker import DockerEngine
from jobfetcher.status.joblog import LINES, Log

pytestmark = pytest.mark.docker


def test_the_last_lines_come_from_the_engine(client: docker.DockerClient, image: str, tmp_path: Path) -> None:
    """Only those, of a container that has ended and of none that is gone."""
    made = client.containers.create(image, ["sh", "-c", "seq 1 5000"], network_mode="none")
    log = Log(tmp_path, DockerEngine())
    job = {"container": {"id": made.id, "name": "any"}}
    try:
        made.start()
        made.wait()
        said = log.tail(job).decode().splitlines()
    finally:
        made.remove(force=True)

    assert [str(number) for number in range(5001 - LINES, 5001)] == said
    assert b"" == log.tail(job)
