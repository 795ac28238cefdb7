"""``top`` as a person has it: in a terminal, beside a worker at work against the mock API."""

import json
import os
import pty
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from mock_api.client import MockServer
from tests.worker_process import WorkerProcess, until

_DRAWING = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """A program in a terminal: what it has drawn so far, and its keyboard."""

    def __init__(self, process: "subprocess.Popen[bytes]", keyboard: int) -> None:
        self.process = process
        self._keyboard = keyboard
        self._seen = b""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def shown(self, text: str) -> bool:
        return text.encode() in _DRAWING.sub(b"", self._seen)

    def forget(self) -> None:
        """Only what is drawn from now on counts."""
        self._seen = b""

    def press(self, keys: str) -> None:
        os.write(self._keyboard, keys.encode())

    def _read(self) -> None:
        with suppress(OSError):  # the program has ended
            while piece := os.read(self._keyboard, 65536):
                self._seen += piece


@contextmanager
def top(base: Path) -> Iterator[Terminal]:
    """``jobfetcher top`` in a terminal of 80 by 24."""
    keyboard, inside = pty.openpty()
    environ = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"}
    command = [sys.executable, "-m", "jobfetcher", "top", "--path-base", str(base)]
    with subprocess.Popen(command, stdin=inside, stdout=inside, stderr=inside, env=environ) as process:
        os.close(inside)
        terminal = Terminal(process, keyboard)
        try:
            yield terminal
        finally:
            process.kill()
            process.wait()
            terminal._reader.join(30)
            os.close(keyboard)


@pytest.fixture
def worker(tmp_path: Path, mock: MockServer) -> Iterator[WorkerProcess]:
    with WorkerProcess(tmp_path / "worker", mock.url, RUNNER="process", MAX_JOBS="2") as made:
        yield made


def look(base: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "jobfetcher", "top", "--json", "--path-base", str(base)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_download_is_watched_as_it_goes_on(mock: MockServer, worker: WorkerProcess) -> None:
    """Bytes, rate and time left are those of the worker's own meters; the API is known to be well."""
    mock.control.put_file("/user/big", b"x" * (4 << 20))
    mock.control.fault("slow", path_regex="big", times=None, bytes_per_second=200_000)
    job = mock.control.submit(files_down={"big": "/user/big"}, files_up={"output": "out"}, cmd=["true"])
    worker.start()

    def moving() -> dict[str, Any] | None:
        if not (worker.base / "jobfetcher.db").exists() or not mock.control.statuses(job):
            return None
        found = look(worker.base)
        meters = [meter for at_work in found["jobs"] for meter in at_work["progress"] if meter["rate"]]
        return {**found, "meter": meters[0]} if meters else None

    found = until("a download with a rate", moving)

    assert (found["running"], found["worker"]["api"]["ok"], found["worker"]["places"]) == (True, True, 2)
    assert (found["jobs"][0]["id"], found["jobs"][0]["state"]) == (str(job), "downloading")
    assert (found["meter"]["phase"], found["meter"]["total"]) == ("download", 4 << 20)


def test_a_worker_is_watched_and_told_from_a_terminal(mock: MockServer, worker: WorkerProcess) -> None:
    """It shows the job, cancels it, sees the worker die and return; q ends it and leaves the worker alone."""
    job = mock.control.submit(cmd=["sleep 600"], files_up={"output": "out"})
    worker.start()
    mock.control.wait_status(job, "running")
    with top(worker.base) as terminal:
        until("the job", lambda: terminal.shown("taking jobs") and terminal.shown("running"))
        terminal.press("c")
        until("the question", lambda: terminal.shown(f"Cancel job {job}?"))
        terminal.press("y")
        mock.control.wait_status(job, "error")
        until("what came of it", lambda: terminal.shown("Cancelled by the operator"))
        worker.kill()
        until("the end of the worker", lambda: terminal.shown("is not running"))
        terminal.forget()
        worker.start()
        until("its return", lambda: terminal.shown("taking jobs"))
        terminal.press("q")
        code = terminal.process.wait(30)

    assert (code, worker.process.poll()) == (0, None)
