"""For tests and demos: the mock as a process of its own (``MockServer``), and its controls.

Needs the standard library only.
"""

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self
from urllib.parse import urlencode

from mock_api.records import Event, FaultReport, JobView, RequestRecord, Upload, Violation

TOKEN = "mock-token"
"""Opens the API for the account ``worker``."""
API_KEY = "mock-api-key"
_START_SECONDS = 30.0
_CALL_SECONDS = 30.0
_POLL_SECONDS = 0.02


class ControlRefused(Exception):
    """The mock refused a control request; the message is its own."""


class MockControl:
    """The control routes, typed. Raises ``ControlRefused``, or ``OSError`` if nothing answers."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._base = self.url
        # The routes answer on a socket of their own too, also while the API refuses connections.
        self._base = self._json("GET", "info")["control_url"] or self.url

    def submit(self, spec: dict[str, Any] | None = None, **shorthand: Any) -> int:
        """Queue a job and return its id: a SubmittedJob, or a shorthand as in ``mock_api.shorthand``."""
        return int(self._json("POST", "jobs", {**(spec or {}), **shorthand})["id"])

    def jobs(self) -> list[JobView]:
        """All jobs that the service knows, as the user sees them."""
        return [JobView(**job) for job in self._json("GET", "jobs")]

    def job(self, job_id: int) -> JobView | None:
        """One of them; None if its row is gone."""
        return next((job for job in self.jobs() if job.id == job_id), None)

    def delete_job(self, job_id: int) -> None:
        """As the user does it."""
        self._call("DELETE", f"jobs/{job_id}")

    def take(self, job_id: int, account: str = "other") -> None:
        """Let another account pull the job."""
        self._call("POST", f"jobs/{job_id}/take", account=account)

    def timeline(self, job_id: int | None = None) -> list[Event]:
        """What happened to a job, or everything."""
        query: dict[str, Any] = {} if job_id is None else {"job_id": job_id}
        return [Event(**event) for event in self._json("GET", "timeline", **query)]

    def statuses(self, job_id: int, acknowledged: bool = True) -> list[str]:
        """The statuses that workers sent for the job, in order; only those they know to be stored, or all."""
        events = [event for event in self.timeline(job_id) if event.kind == "status"]
        return [event.status or "" for event in events if event.acknowledged or not acknowledged]

    def wait(
        self, job_id: int, reached: Callable[[list[Event]], bool], timeout_seconds: float = 30
    ) -> list[Event]:
        """Wait until the job's timeline satisfies ``reached``, and return it; ``TimeoutError`` if never."""
        end = time.monotonic() + timeout_seconds
        while not reached(events := self.timeline(job_id)):
            if time.monotonic() > end:
                raise TimeoutError(f"After {timeout_seconds} s job {job_id} had only {events}.")
            time.sleep(_POLL_SECONDS)
        return events

    def wait_status(self, job_id: int, *statuses: str, timeout_seconds: float = 30) -> list[Event]:
        """Wait until one of the statuses was sent for the job and acknowledged."""
        return self.wait(
            job_id,
            lambda events: any(
                e.kind == "status" and e.acknowledged and e.status in statuses for e in events
            ),
            timeout_seconds,
        )

    def violations(self, *but: str) -> list[Violation]:
        """What no correct worker does; without the rules named in ``but``."""
        found = [Violation(**violation) for violation in self._json("GET", "violations")]
        return [violation for violation in found if violation.rule not in but]

    def requests(self) -> list[RequestRecord]:
        """All requests since the start or the latest reset."""
        return [RequestRecord(**record) for record in self._json("GET", "requests")]

    def put_file(self, file_id: str, content: bytes | IO[bytes] | Path) -> None:
        """Store an input file, streamed if it is a path or an open file."""
        if isinstance(content, Path):
            with content.open("rb") as file:
                self._call("PUT", "files", file, file_id=file_id)
        else:
            self._call("PUT", "files", content, file_id=file_id)

    def uploads(self, job_id: int) -> list[Upload]:
        """The files that the job uploaded, by path."""
        return [Upload(**upload) for upload in self._json("GET", f"uploads/{job_id}")]

    def uploaded(self, job_id: int, path: str) -> bytes:
        """The bytes of one of them, by ``Upload.path``."""
        return self._call("GET", f"uploads/{job_id}/content", path=path)

    def fault(
        self,
        kind: str,
        path_regex: str | None = None,
        method: str | None = None,
        times: int | None = 1,
        **settings: Any,
    ) -> int:
        """Script a fault (see ``mock_api.faults.Fault``) and return its id."""
        match = {"path_regex": path_regex, "method": method, "query_regex": settings.pop("query_regex", None)}
        given = {name: value for name, value in match.items() if value is not None}
        body = {"kind": kind, "times": times, **settings, **({"match": given} if given else {})}
        return int(self._json("POST", "faults", body)["id"])

    def faults(self) -> list[FaultReport]:
        return [FaultReport(**report) for report in self._json("GET", "faults")]

    def fired(self, fault_id: int) -> int:
        """How often a fault was played."""
        return next(report.fired for report in self.faults() if report.id == fault_id)

    def clear_faults(self) -> None:
        """Forget all faults; hanging requests go on, and the API listens again."""
        self._call("DELETE", "faults")

    def down(self, seconds: float | None = None) -> int:
        """Refuse connections from now on, for so long or until ``up``; returns the fault's id."""
        return self.fault("refuse", seconds=seconds)

    def up(self) -> None:
        """Listen again."""
        self._call("POST", "up")

    def scan(self) -> list[int]:
        """Let the service look for silent jobs now; returns the ids that it found."""
        return [int(job_id) for job_id in self._json("POST", "scan")]

    def advance(self, seconds: float) -> None:
        """Move the mock's clock forward."""
        self._call("POST", "advance", seconds=seconds)

    def add_account(
        self,
        name: str,
        token: str | None = None,
        password: str | None = None,
        groups: tuple[str, ...] = ("workers",),
    ) -> None:
        """Add or replace an account."""
        account = {"name": name, "token": token, "password": password, "groups": groups}
        self._call("POST", "accounts", json.dumps(account).encode())

    def expire_tokens(self, refresh_too: bool = False) -> None:
        """End all tokens that were issued by ``/cognito``."""
        self._call("POST", "expire_tokens", refresh_too=refresh_too)

    def reset(self) -> None:
        """Forget jobs, events, violations, uploads and faults; keep accounts, inputs and the clock."""
        self._call("POST", "reset")

    def _json(self, method: str, route: str, /, body: dict[str, Any] | None = None, **query: Any) -> Any:
        sent = None if body is None else json.dumps(body).encode()
        return json.loads(self._call(method, route, sent, **query))

    def _call(self, method: str, route: str, /, body: bytes | IO[bytes] | None = None, **query: Any) -> bytes:
        url = f"{self._base}/_mock/{route}" + (f"?{urlencode(query)}" if query else "")
        request = urllib.request.Request(url, body, {"Content-Type": "application/json"}, method=method)
        try:
            with _OPENER.open(request, timeout=_CALL_SECONDS) as response:
                return bytes(response.read())
        except urllib.error.HTTPError as error:
            with error:
                raise ControlRefused(f"{method} {route}: {error.code} {error.read().decode()}") from error


_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class MockServer:
    """``python -m mock_api`` as a process, on a port of its own; a context manager.

    The port stays the same from ``stop`` or ``kill`` to ``restart``; jobs do not.
    """

    control: MockControl

    def __init__(self, data: Path, *flags: str) -> None:
        """``data`` is its folder, ``flags`` are those of ``python -m mock_api --help``."""
        self.data = data
        self._flags = flags
        self._process: subprocess.Popen[str] | None = None
        # Bound but never listening: nobody else gets the port while the server is away.
        self._reserve = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._reserve.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._reserve.bind(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._reserve.getsockname()[1]}"

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> Self:
        """Start it and wait until it accepts connections; its stderr goes to ``data/mock.log``."""
        self.data.mkdir(parents=True, exist_ok=True)
        port = self.url.rpartition(":")[2]
        command = [sys.executable, "-m", "mock_api", "--port", port, "--data", str(self.data), *self._flags]
        with (self.data / "mock.log").open("a") as log:
            self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        self._await_start(self._process)
        self.control = MockControl(self.url)
        return self

    def _await_start(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        ready, _, _ = select.select([process.stdout], [], [], _START_SECONDS)
        line = process.stdout.readline() if ready else ""
        if not line.startswith("mock API listening on "):
            raise RuntimeError(f"The mock did not start; see {self.data / 'mock.log'}.")

    @property
    def pid(self) -> int:
        """The process id while it runs."""
        assert self._process is not None
        return self._process.pid

    def pause(self) -> None:
        """SIGSTOP: connections are accepted by the kernel, and nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        os.kill(self.pid, signal.SIGCONT)

    def stop(self) -> int:
        """SIGTERM, and wait; returns the exit code."""
        return self._ended(signal.SIGTERM)

    def kill(self) -> int:
        """SIGKILL, and wait; returns the exit code."""
        return self._ended(signal.SIGKILL)

    def _ended(self, how: signal.Signals) -> int:
        process = self._process
        if process is None:
            return 0
        process.send_signal(how)
        try:
            code = process.wait(timeout=_CALL_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        if process.stdout is not None:
            process.stdout.close()
        self._process = None
        return code

    def restart(self) -> Self:
        """Stop it if it runs, and start it on the same port: a service without a memory of jobs."""
        self.stop()
        return self.start()

    def close(self) -> None:
        """Stop it for good."""
        with contextlib.suppress(ProcessLookupError):
            self.stop()
        self._reserve.close()
