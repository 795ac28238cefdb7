"""A real worker in a process of its own, for tests that kill it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from persistence.errors import StoreUnavailable, StoreUnusable
from persistence.reader import Reader, open_reader
from tests import nvml

T = TypeVar("T")
DEADLINE = 60.0
"""Seconds after which what was waited for counts as never coming."""


def until(what: str, probe: Callable[[], T | None], seconds: float = DEADLINE) -> T:
    """Ask until the answer is true, and return it. ``AssertionError`` naming ``what`` at the deadline."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if answer := probe():
            return answer
        time.sleep(0.02)
    raise AssertionError(f"waited {seconds:.0f} s in vain for: {what}")


class WorkerProcess:
    """``jobfetcher run`` over the state folder ``base``. Started anew as often as one likes.

    As a context manager it is killed at the end, if it still runs. It finds none of this machine's GPUs:
    not every engine gives them to containers.
    """

    def __init__(self, base: Path, api_url: str, **variables: str) -> None:
        self.base = base
        self.log = base.parent / f"{base.name}.log"
        self._variables = {
            "API_URL": api_url,
            "ACCESS_TOKEN": "mock-token",
            "PATH_BASE": str(base),
            "TIMEOUT_JOB": "0.2",
            "TIMEOUT_STATUS": "1",
            "NETWORK": "none",
            "MIN_FREE_DISK": "0",
            "LOG_LEVEL": "DEBUG",
            **nvml.no_gpu(),
            **variables,
        }
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        if error is not None and self.log.exists():
            print(f"---- {self.log}\n{self.log.read_text()[-12000:]}", file=sys.stderr)

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "the worker was not started"
        return self._process

    def start(self, failpoints: str = "", **variables: str) -> Self:
        """Start it, with failpoints armed."""
        environ = {**os.environ, **self._variables, **variables, "JOBFETCHER_FAILPOINTS": failpoints}
        # Tests may run under nohup, where SIGHUP is ignored by all that it starts.
        command = ["env", "--default-signal=HUP", sys.executable, "-m", "jobfetcher", "run"]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command, env=environ, cwd=self.base.parent, stdout=log, stderr=log
            )
        return self

    def kill(self) -> None:
        """SIGKILL, if it runs."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        return self.ended()

    def ended(self, seconds: float = DEADLINE) -> int:
        """Wait until it ends by itself, and return the exit code."""
        return self.process.wait(seconds)

    def killed_itself(self) -> bool:
        """Wait for the end. Whether it was the SIGKILL of a failpoint."""
        return self.ended() == -signal.SIGKILL

    def reader(self) -> Reader:
        return open_reader(self.base / "jobfetcher.db")

    def state(self, job_id: str) -> str | None:
        """The state of the newest lease of that job; None if the worker does not know it."""
        try:
            with self.reader() as reader:
                rows = reader.job(job_id)
                return rows[0].state if rows else None
        except (StoreUnavailable, StoreUnusable):
            return None

    def wait_for_state(self, job_id: str, *states: str, seconds: float = DEADLINE) -> str:
        """Wait until the job is in one of ``states``."""

        def probe() -> str | None:
            assert self.process.poll() is None, f"the worker ended with {self.process.returncode}"
            state = self.state(job_id)
            return state if state in states else None

        return until(f"job {job_id} in {' or '.join(states)}", probe, seconds)
