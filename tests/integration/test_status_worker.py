"""A real worker that is watched: by Prometheus, by systemd, by ``jobfetcher health``."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from mock_api.client import MockServer
from tests.service_view import CONTENT, submit
from tests.watched_worker import WatchedWorker
from tests.worker_process import WorkerProcess, until


@pytest.fixture
def worker(tmp_path: Path, mock: MockServer) -> Iterator[WatchedWorker]:
    with WatchedWorker(tmp_path / "worker", mock.url) as made:
        yield made


def test_metrics_follow_a_job(mock: MockServer, worker: WatchedWorker) -> None:
    """Its state, its phases, its bytes both ways, and what was asked of the API."""
    worker.start()
    job = submit(mock)
    mock.control.wait_status(job, "finished", timeout_seconds=60)
    until("all sent", lambda: worker.metric("jobfetcher_unsent_updates") == 0)

    assert 1 == worker.metric('jobfetcher_jobs{state="finished"}')
    assert 1 == worker.metric('jobfetcher_phase_duration_seconds_count{state="running"}')
    assert len(CONTENT) == worker.metric('jobfetcher_transferred_bytes_total{phase="download"}')
    assert len(CONTENT) <= worker.metric('jobfetcher_transferred_bytes_total{phase="upload"}')
    assert 4 <= worker.metric('jobfetcher_api_requests_total{call="put_status",outcome="ok"}')
    assert 1 == worker.metric('jobfetcher_api_requests_total{call="download_request",outcome="ok"}')
    assert 1 == worker.metric("jobfetcher_ready")


def test_an_api_that_is_away_is_seen(mock: MockServer, worker: WatchedWorker) -> None:
    """Requests without an answer are counted, and the worker is alive but not ready, until it is back."""
    worker.start()
    until("ready", lambda: worker.metric("jobfetcher_ready") == 1)
    mock.control.down()
    until("not ready", lambda: worker.metric("jobfetcher_ready") == 0)

    assert "ok\n" == worker.ask("/healthz")
    refused = 'jobfetcher_api_requests_total{call="fetch_jobs",outcome="unreachable"}'
    # The scrape that saw the first failure may have read the counters just before it.
    until("a request without an answer", lambda: worker.metric(refused) >= 1)
    mock.control.up()
    until("ready again", lambda: worker.metric("jobfetcher_ready") == 1)


def test_a_port_that_is_taken_ends_the_start(tmp_path: Path) -> None:
    """Exit code 1 and one sentence, before anything else is begun: no database, no request."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with WatchedWorker(tmp_path / "worker", "http://127.0.0.1:9", STATUS_PORT=port) as worker:
            assert 1 == worker.start().ended()

    said = worker.log.read_text().splitlines()
    assert 1 == len(said)
    assert said[0].startswith(f"jobfetcher: STATUS_PORT {port} cannot be opened on STATUS_HOST 127.0.0.1")
    assert not (worker.base / "jobfetcher.db").exists()


def listening(pid: int) -> set[str]:
    """The local addresses that a process listens on, as the kernel writes them."""
    held, found = set(), set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed in between
            held.add(str(descriptor.readlink()))
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in held:
                found.add(fields[1].partition(":")[0])
    return found


def test_without_a_port_nothing_is_open(tmp_path: Path, mock: MockServer, worker: WatchedWorker) -> None:
    """STATUS_PORT unset: no socket listens. Set: one, on loopback."""
    with WorkerProcess(tmp_path / "closed", mock.url, RUNNER="process") as closed:
        job = submit(mock)
        closed.start()
        mock.control.wait_status(job, "finished", timeout_seconds=60)
        assert set() == listening(closed.process.pid)
    worker.start()

    assert "ok\n" == worker.ask("/healthz")
    assert {"0100007F"} == listening(worker.process.pid)


def health(worker: WorkerProcess, **variables: str) -> tuple[int, str]:
    """Exit code and words of ``jobfetcher health``."""
    command = [sys.executable, "-m", "jobfetcher", "health", "--path-base", str(worker.base)]
    environ, folder = {**os.environ, **variables}, worker.base.parent
    done = subprocess.run(command, check=False, env=environ, cwd=folder, capture_output=True, text=True)
    return done.returncode, done.stdout


def test_health_asks_a_living_worker_and_a_dead_one(mock: MockServer, worker: WatchedWorker) -> None:
    """By its port, and by its lock and status file; after a SIGKILL both say that there is none."""
    worker.start()
    port = worker.url.rstrip("/").rpartition(":")[2]

    assert (0, "The worker is healthy.\n") == health(worker, STATUS_PORT=port)
    assert (0, "The worker is healthy.\n") == health(worker)
    worker.kill()
    assert (1, "No worker") == ((said := health(worker, STATUS_PORT=port))[0], said[1][:9])
    assert (1, "No worker runs") == ((said := health(worker))[0], said[1][:14])


def test_health_sees_a_worker_that_is_frozen(mock: MockServer, worker: WatchedWorker) -> None:
    """A process that is there but does not answer is not healthy."""
    worker.start()
    port = worker.url.rstrip("/").rpartition(":")[2]
    worker.process.send_signal(signal.SIGSTOP)
    code, said = health(worker, STATUS_PORT=port)
    worker.process.send_signal(signal.SIGCONT)

    assert (1, True) == (code, "timed out" in said)


def test_systemd_hears_of_a_workers_life(tmp_path: Path, mock: MockServer) -> None:
    """Ready, what it does, that it lives, and that it stops: from a real process."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(60)
        heard: list[str] = []

        def hears(wanted: str) -> bool:
            while not any(wanted in line for line in heard):
                heard.extend(systemd.recv(4096).decode().splitlines())
            return True

        variables = {
            "NOTIFY_SOCKET": str(tmp_path / "notify"),
            "WATCHDOG_USEC": "1000000",
            "RUNNER": "process",
        }
        with WorkerProcess(tmp_path / "worker", mock.url, **variables) as worker:
            job = submit(mock, "sleep 300")
            worker.start()
            assert hears("READY=1")
            assert hears(f"STATUS=running job {job}")
            heard.clear()
            assert hears("WATCHDOG=1")
            assert 0 == worker.stop()
            assert hears("STOPPING=1")
            mock.control.delete_job(job)
            worker.start()  # to end the process of the job
            worker.wait_for_state(str(job), "cancelled")
            until("its process ended", lambda: not list((worker.base / "runs").glob("*")))


def test_the_status_of_a_worker_at_work(mock: MockServer, worker: WatchedWorker) -> None:
    """The page's JSON has the job that runs, and the last lines of its process."""
    job = submit(mock, "echo a line; sleep 300")
    worker.start()
    worker.wait_for_state(str(job), "running")
    until("a line", lambda: worker.ask(f"/api/jobs/{job}/log") == "a line")
    status = json.loads(worker.ask("/api/status"))

    assert [(str(job), "running")] == [(at["id"], at["state"]) for at in status["jobs"].values()]
    assert worker.process.pid == status["pid"]
    mock.control.delete_job(job)
    worker.wait_for_state(str(job), "cancelled")
    until("its process ended", lambda: not list((worker.base / "runs").glob("*")))
