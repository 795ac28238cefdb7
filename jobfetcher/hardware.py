"""What this machine offers to jobs: memory, cores and GPUs. The only file that asks NVML."""

import logging
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)
MIB = 1024 * 1024
CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Gpu:
    """One GPU as NVML describes it."""

    uuid: str
    model: str
    memory: int
    """MiB."""
    architecture: str
    """Compute capability, e.g. ``8.6``."""


@dataclass(frozen=True)
class Hardware:
    """What the machine has. ``memory`` is MiB."""

    memory: int
    cpu_cores: int
    gpus: tuple[Gpu, ...] = ()


def collect() -> Hardware:
    """Ask the machine, within the limits of this process's cgroup. A broken GPU driver is a warning."""
    return Hardware(memory_mib(), cpu_cores(), gpus())


def memory_mib(cgroup: Path = CGROUP) -> int:
    """Memory in whole MiB: the machine's, or the cgroup's limit where that is lower."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = [_number(cgroup / "memory.max"), _number(cgroup / "memory" / "memory.limit_in_bytes")]
    return int(min([total, *(limit for limit in limits if limit)])) // MIB


def cpu_cores(cgroup: Path = CGROUP) -> int:
    """Whole cores this process may use, at least 1."""
    cores = len(os.sched_getaffinity(0))
    quota = _quota(cgroup)
    return max(1, min(cores, int(quota))) if quota else cores


def gpus() -> tuple[Gpu, ...]:
    """The GPUs of this machine; none where there is no driver."""
    import pynvml  # takes as long to load as half of the worker: only where it is asked

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        if not isinstance(error, pynvml.NVMLError_LibraryNotFound):
            log.warning("hardware.gpu-driver-broken", extra={"error": str(error)})
        return ()
    try:
        found = [_gpu(pynvml, index) for index in range(pynvml.nvmlDeviceGetCount())]
    except pynvml.NVMLError as error:
        log.warning("hardware.gpu-driver-broken", extra={"error": str(error)})
        return ()
    finally:
        pynvml.nvmlShutdown()
    return tuple(gpu for gpu in found if gpu is not None)


def _gpu(pynvml: Any, index: int) -> Gpu | None:
    """One GPU; None if it has fallen off the bus, which must not take the others along."""
    try:
        handle = pynvml.nvmlDeviceGetHandleByIndex(index)
        major, minor = pynvml.nvmlDeviceGetCudaComputeCapability(handle)
        memory = pynvml.nvmlDeviceGetMemoryInfo(handle).total // MIB
        name, uuid = pynvml.nvmlDeviceGetName(handle), pynvml.nvmlDeviceGetUUID(handle)
    except pynvml.NVMLError as error:
        log.warning("hardware.gpu-lost", extra={"gpu": index, "error": str(error)})
        return None
    return Gpu(str(uuid), str(name), int(memory), f"{major}.{minor}")


def _number(path: Path) -> int | None:
    with suppress(OSError, ValueError):
        return int(path.read_text())
    return None


def _quota(cgroup: Path) -> float | None:
    """Cores allowed by the cgroup's CPU bandwidth (version 2, then version 1)."""
    with suppress(OSError, ValueError):
        quota, period = (cgroup / "cpu.max").read_text().split()
        return int(quota) / int(period)
    quota_v1 = _number(cgroup / "cpu" / "cpu.cfs_quota_us")
    period_v1 = _number(cgroup / "cpu" / "cpu.cfs_period_us")
    return quota_v1 / period_v1 if quota_v1 and period_v1 and quota_v1 > 0 else None
