"""What a test may ask the real Docker engine, past the worker."""

from pathlib import Path
from typing import Any

import docker
import docker.errors

WORKER_LABEL = "org.decode.jobfetcher.worker"


def containers_of(worker: str) -> list[str]:
    """Names of all containers of a worker, running or not."""
    return [str(found["Names"][0]).lstrip("/") for found in _listed(worker)]


def running_of(worker: str) -> list[str]:
    """Names of its containers that run."""
    return [str(found["Names"][0]).lstrip("/") for found in _listed(worker) if found["State"] == "running"]


def remove_all_of(worker: str) -> None:
    """Remove a worker's containers: what a failed test leaves behind."""
    client = docker.from_env().api
    try:
        for name in containers_of(worker):
            try:
                client.remove_container(name, force=True, v=True)
            except docker.errors.APIError as error:
                if error.status_code not in (404, 409):  # gone, or going already
                    raise
    finally:
        client.close()


def remove_all_below(base: Path) -> None:
    """The same for the worker over the state folder ``base``, which may not have got a name."""
    if (named := base / "worker-id").exists():
        remove_all_of(named.read_text().strip())


def _listed(worker: str) -> list[dict[str, Any]]:
    client = docker.from_env().api
    try:
        return list(client.containers(all=True, filters={"label": f"{WORKER_LABEL}={worker}"}))
    finally:
        client.close()
