"""What a job's container is made of, as the engine's API wants to hear it."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobfetcher.units import MIB
from states.job import Job

LABEL = "org.decode.jobfetcher."
FILES = "/files"
LOG_LIMIT = {"max-size": "512m", "max-file": "2"}
"""What a job's output may take on the engine's disk; older output is dropped."""


@dataclass(frozen=True)
class Limits:
    """What every container of this worker gets."""

    ipc_mode: str = "private"
    """``private`` or ``host``."""
    shm_size: int = 8 * 1024**3
    """Bytes of /dev/shm; only with a private IPC namespace."""
    network: str | None = None
    """Name of the network, or None for the engine's own choice."""
    memory: int | None = None
    """Bytes a container may use; None: all."""


def half_of_memory() -> int:
    """Bytes of /dev/shm where nobody says: half of this machine's memory, at most 8 GiB."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(memory // 2, 8 * 1024**3)


def labels(job: Job) -> dict[str, str]:
    """What tells the container of this run of this lease of this worker from any other."""
    return {
        f"{LABEL}worker": job.worker,
        f"{LABEL}job": job.slug,
        f"{LABEL}run": job.run_name,
        f"{LABEL}lease": job.spec.lease,
        f"{LABEL}spec": _fingerprint(job),
    }


def is_of(job: Job, found: Mapping[str, Any]) -> bool:
    """The container was made for exactly this run."""
    had = found["Config"].get("Labels") or {}
    return all(had.get(name) == value for name, value in labels(job).items())


def is_of_worker(worker: str, found: Mapping[str, Any]) -> bool:
    """The container was made by this worker."""
    return (found["Config"].get("Labels") or {}).get(f"{LABEL}worker") == worker


def container(job: Job, image_id: str, folder: Path, limits: Limits, epoch: str) -> dict[str, Any]:
    """The body of the request that creates the container. ``folder`` is as the engine sees it."""
    body: dict[str, Any] = {
        "Image": image_id,
        "Env": [f"{name}={value}" for name, value in (job.spec.app.env or {}).items()],
        "Labels": {**labels(job), f"{LABEL}epoch": epoch},
        "HostConfig": _host(job, folder, limits),
    }
    if job.spec.command is not None:
        body["Cmd"] = ["/bin/sh", "-c", job.spec.command]
    return body


def clearing(job: Job, name: str, folder: Path) -> dict[str, Any]:
    """The body of the request for a container that empties ``folder`` (as the engine sees it)."""
    return {
        "Image": job.facts.image_id,
        "Cmd": ["/bin/sh", "-c", f"rm -rf {FILES}/* {FILES}/.[!.]* {FILES}/..?*"],
        "User": "0",
        "Labels": {f"{LABEL}worker": job.worker, f"{LABEL}job": job.slug, f"{LABEL}run": name},
        "HostConfig": {
            "Mounts": [{"Type": "bind", "Source": str(folder), "Target": FILES, "ReadOnly": False}],
            "NetworkMode": "none",
            "SecurityOpt": ["no-new-privileges"],
        },
    }


def _host(job: Job, folder: Path, limits: Limits) -> dict[str, Any]:
    host: dict[str, Any] = {
        # A mount, not a bind: its source must exist, where a bind's would be made as an empty folder.
        "Mounts": [{"Type": "bind", "Source": str(folder), "Target": FILES, "ReadOnly": False}],
        "Init": True,
        "SecurityOpt": ["no-new-privileges"],
        "IpcMode": limits.ipc_mode,
        "LogConfig": {"Type": "json-file", "Config": LOG_LIMIT},
    }
    if limits.ipc_mode != "host":
        host["ShmSize"] = limits.shm_size
    if limits.network is not None:
        host["NetworkMode"] = limits.network
    if limits.memory is not None:
        host["Memory"] = limits.memory
    return {**host, **_held(job)}


def _held(job: Job) -> dict[str, Any]:
    """What the job holds of the machine, as limits; none where it has the whole of it."""
    share = job.facts.share
    host: dict[str, Any] = {}
    if share is not None and share.cpu_cores is not None:
        host["NanoCpus"] = round(share.cpu_cores * 10**9)
    if share is not None and share.memory is not None:
        # As much with swap as without: it must not take what other jobs were promised.
        host["Memory"] = host["MemorySwap"] = share.memory * MIB
    if job.facts.gpus:
        host["DeviceRequests"] = [{"DeviceIDs": list(job.facts.gpus), "Capabilities": [["gpu"]]}]
    return host


def _fingerprint(job: Job) -> str:
    text = json.dumps([job.spec.model_dump(mode="json"), _held(job)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
