"""Processes to measure: the shipped worker, and the commands it is compared with."""

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bench.measure import MIB, timed

TOKEN = "mock-token"
SCRIPT = Path(sys.executable).with_name("jobfetcher")
_TICKS = os.sysconf("SC_CLK_TCK")


class Worker:
    """``jobfetcher run`` over the state folder ``base``, as a context manager; SIGKILL ends it.

    Settings are the defaults except for ``variables``; nothing of this process's own reaches it.
    """

    def __init__(self, base: Path, api_url: str, **variables: str) -> None:
        self.base = base
        self._environ = {
            "PATH": os.environ["PATH"],
            "API_URL": api_url,
            "ACCESS_TOKEN": TOKEN,
            "PATH_BASE": str(base),
            **{name: os.environ[name] for name in ("DOCKER_HOST", "HOME") if name in os.environ},
            **variables,
        }
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def start(self) -> Self:
        """Start it. Its log is ``<base>.log``."""
        self.base.mkdir(parents=True, exist_ok=True)
        with self.base.with_suffix(".log").open("ab") as log:
            self._process = subprocess.Popen(
                [SCRIPT, "run"], env=self._environ, cwd=self.base.parent, stdout=log, stderr=log
            )
        return self

    def kill(self) -> None:
        """SIGKILL, and wait."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    @property
    def _proc(self) -> Path:
        assert self._process is not None, "the worker was not started"
        return Path("/proc") / str(self._process.pid)

    def cpu(self) -> float:
        """Seconds of processor time until now, of all threads; a hundredth is the finest."""
        fields = (self._proc / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def cpu_of_threads(self) -> float:
        """Seconds of processor time of the threads that live now, in nanoseconds' detail."""
        tasks = (self._proc / "task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9

    def wakeups(self) -> int:
        """How often its threads have gone to sleep until now."""
        tasks = (self._proc / "task").iterdir()
        return sum(_field(task / "status", "voluntary_ctxt_switches") for task in tasks)

    def memory(self) -> float:
        """Resident MiB."""
        return _field(self._proc / "status", "VmRSS") * 1024 / MIB

    def peak(self) -> float:
        """The most resident MiB since ``forget_peak``."""
        return _field(self._proc / "status", "VmHWM") * 1024 / MIB

    def forget_peak(self) -> None:
        """Count ``peak`` from here."""
        (self._proc / "clear_refs").write_text("5")


def _field(status: Path, name: str) -> int:
    lines = status.read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


@dataclass(frozen=True)
class Cost:
    """Seconds that a command took: on the clock, and of processor time."""

    wall: float
    cpu: float


def cost(command: Sequence[str | Path], **how: Any) -> Cost:
    """Run a command to its end. Raises ``CalledProcessError`` with what it said if it fails.

    ``how`` are more arguments for ``subprocess.run``.
    """
    before = os.times()
    wall = timed(lambda: subprocess.run(command, check=True, capture_output=True, **how))
    after = os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return Cost(wall, used)


def wall(*command: str | Path, **how: Any) -> float:
    """Seconds that a command takes on the clock."""
    return cost(command, **how).wall
