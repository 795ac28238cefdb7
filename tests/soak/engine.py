"""Asking the soak's engine, past the worker, also while it is away."""

import contextlib
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import docker
import docker.errors
import requests

RUN_LABEL = "org.decode.jobfetcher.run"
NOT_NOW = (requests.RequestException, docker.errors.DockerException, json.JSONDecodeError, OSError)
"""What an engine that is away, or just going, makes of a question."""


@contextmanager
def reached(base_url: str) -> Iterator[docker.APIClient]:
    """A client, if something listens: docker-py would leak its socket."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(base_url.removeprefix("unix://"))
    with contextlib.closing(docker.APIClient(base_url=base_url, timeout=10)) as client:
        yield client


def listed(base_url: str) -> list[dict[str, Any]]:
    """All containers of the engine; none while it is away."""
    try:
        with reached(base_url) as client:
            return list(client.containers(all=True))
    except NOT_NOW:
        return []
