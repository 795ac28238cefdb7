"""How busy this machine is: processors, memory, disk, GPUs. Reads ``/proc`` itself; no more is needed."""

import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jobfetcher.hardware import GpuUsage

PROC = Path("/proc")
_IDLE = (3, 4)
"""Where a line of ``/proc/stat`` counts time without work: idle, and waiting for a disk."""


class Machine:
    """Each reading tells of the time since the one before. ``folder``'s disk is the one that is shown."""

    def __init__(self, folder: Path, gpus: Callable[[], tuple[GpuUsage, ...]], proc: Path = PROC) -> None:
        self._folder = folder
        self._gpus = gpus
        self._proc = proc
        self._before = self._ticks()

    def read(self) -> dict[str, Any]:
        """Percent busy (of all processors, and of each), memory, disk and GPUs; sizes in bytes, but MiB
        of GPU memory. What the system does not tell is None.
        """
        now = self._ticks()
        busy = {name: _percent(self._before.get(name), ticks) for name, ticks in now.items()}
        self._before = now
        return {
            "cpu": busy.pop("cpu", None),
            "cpus": list(busy.values()),
            "memory": self._memory(),
            "disk": self._disk(),
            "gpus": [asdict(gpu) for gpu in self._gpus()],
        }

    def _ticks(self) -> dict[str, tuple[int, int]]:
        """Of each processor: all time, and time without work."""
        found = {}
        with suppress(OSError, ValueError):
            for line in (self._proc / "stat").read_text().splitlines():
                name, *values = line.split()
                if name.startswith("cpu"):
                    times = [int(value) for value in values[:8]]
                    found[name] = (sum(times), sum(times[i] for i in _IDLE))
        return found

    def _memory(self) -> dict[str, int] | None:
        with suppress(OSError, ValueError, KeyError):
            lines = (line.split() for line in (self._proc / "meminfo").read_text().splitlines())
            kib = {name.rstrip(":"): int(count) for name, count, *_ in lines}
            total = kib["MemTotal"]
            return {"total": total * 1024, "used": (total - kib["MemAvailable"]) * 1024}
        return None

    def _disk(self) -> dict[str, int] | None:
        with suppress(OSError):
            usage = shutil.disk_usage(self._folder)
            return {"total": usage.total, "free": usage.free}
        return None


def _percent(before: tuple[int, int] | None, now: tuple[int, int]) -> float | None:
    if before is None or now[0] <= before[0]:
        return None
    whole, idle = now[0] - before[0], now[1] - before[1]
    return round(min(100.0, max(0.0, 100 * (whole - idle) / whole)), 1)
