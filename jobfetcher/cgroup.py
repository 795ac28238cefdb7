"""Memory and cores of this machine, within the limits of this process's cgroup (version 2 or 1)."""

import os
from contextlib import suppress
from pathlib import Path

from jobfetcher.units import MIB

CGROUP = Path("/sys/fs/cgroup")
MEMINFO = Path("/proc/meminfo")


def memory_mib(cgroup: Path = CGROUP) -> int:
    """Memory in whole MiB: the machine's, or the cgroup's limit where that is lower."""
    limit = _limit(cgroup)
    return min(_total(), limit) // MIB if limit else _total() // MIB


def available_mib(cgroup: Path = CGROUP, meminfo: Path = MEMINFO) -> int:
    """Memory in whole MiB that can be had now without swapping; not more than the cgroup has left."""
    free = (_field(meminfo, "MemAvailable:") * 1024 or _total()) // MIB
    limit = _limit(cgroup)
    return free if limit is None else min(free, max(0, limit - _used(cgroup)) // MIB)


def cpu_cores(cgroup: Path = CGROUP) -> int:
    """Whole cores this process may use, at least 1."""
    cores = len(os.sched_getaffinity(0))
    quota = _quota(cgroup)
    return max(1, min(cores, int(quota))) if quota else cores


def _total() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _limit(cgroup: Path) -> int | None:
    """Bytes; None: no limit. Version 1 writes that as a number larger than any memory."""
    limits = [_number(cgroup / "memory.max"), _number(cgroup / "memory" / "memory.limit_in_bytes")]
    real = [limit for limit in limits if limit and limit < 1 << 60]
    return min(real) if real else None


def _used(cgroup: Path) -> int:
    """Bytes in use, without what is only the cache of files that nobody has open."""
    for folder, usage, cache in (
        (cgroup, "memory.current", "inactive_file"),
        (cgroup / "memory", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        if (used := _number(folder / usage)) is not None:
            return max(0, used - _field(folder / "memory.stat", cache))
    return 0


def _field(path: Path, name: str) -> int:
    """The number after ``name`` in a file with one name and its value on each line; 0 if it is not there."""
    with suppress(OSError, ValueError):
        for line in path.read_text().splitlines():
            words = line.split()
            if words[:1] == [name]:
                return int(words[1])
    return 0


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
