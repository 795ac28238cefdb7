"""The demo's processes: the mock API, driven over HTTP, and a worker that can be killed."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import requests

from jobfetcher.hardware import LIBRARY

TOKEN = "mock-token"
"""The mock lets this one in."""


class DemoFailed(Exception):
    """The demo cannot go on; the message says why and where to look."""


def wait_for(what: str, reached: Callable[[], object], seconds: float = 120) -> None:
    """Wait until ``reached()`` is true. Raises ``DemoFailed`` after ``seconds``."""
    end = time.monotonic() + seconds
    while not reached():
        if time.monotonic() > end:
            raise DemoFailed(f"Waited {seconds:.0f} s in vain for: {what}.")
        time.sleep(0.1)


def without_gpus(folder: Path) -> dict[str, str]:
    """Variables of a process that finds no GPU; ``folder`` is made for them.

    The demo needs none, and an engine without NVIDIA's toolkit starts no container that is to have one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / LIBRARY).write_text("Stands before NVIDIA's library, so that the demo's worker finds no GPU.\n")
    searched = [str(folder), *filter(None, [os.environ.get("LD_LIBRARY_PATH")])]
    return {"LD_LIBRARY_PATH": os.pathsep.join(searched)}


class MockApi:
    """``python -m mock_api`` as a process, with its data in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        command = [sys.executable, "-m", "mock_api", "--port", "0", "--data", str(folder)]
        with (folder.parent / "mock-api.log").open("wb") as log:
            self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if "listening on" not in line:
            self.close()
            raise DemoFailed(
                "The mock API did not start. It needs the extra 'mock' (in a clone: pip install '.[mock]'); "
                f"see {folder.parent / 'mock-api.log'}."
            )
        self.url = line.split()[-1]

    def put_file(self, file_id: str, content: bytes) -> None:
        """Store an input file."""
        self._ask("PUT", "files", params={"file_id": file_id}, data=content)

    def submit(self, job: dict[str, Any]) -> str:
        """Queue a job; returns its id."""
        return str(self._ask("POST", "jobs", json=job).json()["id"])

    def statuses(self, job_id: str) -> list[str]:
        """What the API has acknowledged for the job, keep-alives folded."""
        events = self._ask("GET", "timeline", params={"job_id": job_id}).json()
        heard = [e["status"] for e in events if e["kind"] == "status" and e["answered"] == 204]
        return [status for at, status in enumerate(heard) if at == 0 or heard[at - 1] != status]

    def uploads(self, job_id: str) -> list[dict[str, Any]]:
        """The files that the job uploaded, with their SHA-256."""
        found: list[dict[str, Any]] = self._ask("GET", f"uploads/{job_id}").json()
        return found

    def violations(self) -> list[dict[str, Any]]:
        """Everything that the API saw and that no correct worker does."""
        found: list[dict[str, Any]] = self._ask("GET", "violations").json()
        return found

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _ask(self, method: str, route: str, **arguments: Any) -> requests.Response:
        answer = requests.request(method, f"{self.url}/_mock/{route}", timeout=30, **arguments)
        answer.raise_for_status()
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class DemoWorker:
    """``jobfetcher run`` as a process, over the state folder ``base``."""

    def __init__(self, base: Path, api_url: str, runner: str) -> None:
        self.base = base
        self.log = base.parent / "worker.log"
        self._environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith("JOBFETCHER_")},
            **without_gpus(base.parent / "no-gpus"),
            "JOBFETCHER_API_URL": api_url,
            "JOBFETCHER_ACCESS_TOKEN": TOKEN,
            "JOBFETCHER_PATH_BASE": str(base),
            "JOBFETCHER_TIMEOUT_JOB": "1",
            "JOBFETCHER_TIMEOUT_STATUS": "2",
            "JOBFETCHER_RUNNER": runner,
            "JOBFETCHER_MIN_FREE_DISK": "0",
            "JOBFETCHER_LOG_FORMAT": "human",
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> int:
        """Start it; returns its process id."""
        command = [sys.executable, "-m", "jobfetcher", "run"]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command, env=self._environ, cwd=self.base.parent, stdout=log, stderr=log
            )
        return self._process.pid

    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """SIGKILL: no chance to say goodbye."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        assert self._process is not None
        self._process.terminate()
        return self._process.wait()
