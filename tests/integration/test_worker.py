"""The whole worker as a process against the mock API over a socket, with jobs as plain processes."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mock_api.client import MockServer
from tests.service_view import CONTENT, GOOD, details, submit, told
from tests.worker_process import WorkerProcess, until


@pytest.fixture
def worker(tmp_path: Path, mock: MockServer) -> Iterator[WorkerProcess]:
    with WorkerProcess(tmp_path / "worker", mock.url, RUNNER="process") as made:
        yield made


RAW = {"app": {"cmd": ["true"]}, "meta": {"job_id": 1, "date_created": "today"}, "hardware": {}}


@pytest.mark.parametrize(
    ("job", "expected"),
    [
        pytest.param({"job": {**RAW, "handler": {}}}, "cannot be read (handler.image_url:", id="no image"),
        pytest.param({"job": {**RAW, "handler": {}, "app": 3}}, "app: Input should", id="garbage"),
        pytest.param({"files_down": {"../../x": "/user/x"}}, "climbs out", id="input climbs out"),
        pytest.param({"files_down": {"/etc/cron.d/x": "/user/x"}}, "is absolute", id="input is absolute"),
        pytest.param({"files_up": {"output": "../.."}}, "climbs out", id="output climbs out"),
        pytest.param({"files_down": {"a\0b": "/user/x"}}, "NUL", id="NUL"),
        pytest.param({"files_down": {"data/x": "/user/missing"}}, "'data/x' cannot be", id="input missing"),
        pytest.param({"image": "  "}, "names no image", id="blank image"),
        pytest.param({"cmd": None}, "has no command", id="no command for the process runner"),
    ],
)
@pytest.mark.row(7, 8)
def test_a_job_that_cannot_run_ends_in_a_sentence_and_the_next_one_runs(
    mock: MockServer, worker: WorkerProcess, job: dict[str, Any], expected: str
) -> None:
    """Bad input ends in ``error`` with a reason that its owner understands; the worker goes on."""
    bad = mock.control.submit(**job) if "job" in job else submit(mock, **job)
    good = submit(mock)
    worker.start()

    mock.control.wait_status(bad, "error", timeout_seconds=60)
    mock.control.wait_status(good, "finished", timeout_seconds=60)

    assert expected in details(mock, bad)
    assert (told(mock, bad)[0], told(mock, bad)[-1]) == ("preprocessing", "error")
    assert mock.control.violations() == []


@pytest.mark.row(35)
def test_a_deleted_job_is_stopped_and_nothing_more_is_said(mock: MockServer, worker: WorkerProcess) -> None:
    """The first 404 ends the job's process within seconds; no PUT and no upload follows."""
    job = submit(mock, "echo $$ > /files/output/pid; sleep 300")
    worker.start()
    mock.control.wait_status(job, "running", timeout_seconds=60)
    until("the command to run", lambda: list((worker.base / "jobs").glob("*/1/output/pid")))

    mock.control.delete_job(job)

    worker.wait_for_state(str(job), "cancelled", seconds=20)
    until("nothing left", lambda: not [*worker.base.glob("jobs/*"), *worker.base.glob("runs/*")], 20)
    assert mock.control.uploads(job) == []
    other = submit(mock)
    mock.control.wait_status(other, "finished", timeout_seconds=60)
    assert mock.control.violations() == []


@pytest.mark.row(34)
def test_a_job_lost_while_the_worker_was_down_is_dropped_before_it_uploads(
    mock: MockServer, worker: WorkerProcess
) -> None:
    """After a restart the API is asked first: a job that is no longer ours uploads nothing."""
    job = submit(mock, "echo out > /files/output/out; touch /files/output/ended")
    worker.start(failpoints="uploading.committed=kill")
    assert worker.killed_itself()
    mock.control.delete_job(job)

    worker.start()

    worker.wait_for_state(str(job), "cancelled")
    assert mock.control.uploads(job) == []
    assert mock.control.violations() == []


def test_an_api_that_is_away_costs_nothing_but_time(mock: MockServer, worker: WorkerProcess) -> None:
    """The API goes away while a job runs and comes back after its end: everything arrives, in order."""
    job = submit(mock, "touch /files/output/began; sleep 1; cp /files/data/x /files/output/")
    worker.start()
    mock.control.wait_status(job, "running", timeout_seconds=60)
    fault = mock.control.down()
    worker.wait_for_state(str(job), "uploading")
    mock.control.up()

    mock.control.wait_status(job, "finished", timeout_seconds=90)

    assert mock.control.fired(fault) >= 1
    assert told(mock, job) == GOOD
    assert mock.control.uploaded(job, "output/output/x") == CONTENT
    assert mock.control.violations() == []


@pytest.mark.parametrize(
    ("fault", "settings"),
    [
        pytest.param(
            "lose_response", {"method": "PUT", "query_regex": "finished"}, id="answer to the end lost"
        ),
        pytest.param(
            "status_after_work", {"method": "PUT", "query_regex": "running"}, id="500 though stored"
        ),
        pytest.param("status", {"method": "PUT", "times": 3, "code": 503}, id="503 three times"),
        pytest.param(
            "status",
            {"method": "PUT", "code": 429, "headers": {"Retry-After": "1"}},
            id="429 with Retry-After",
        ),
        pytest.param(
            "status",
            {
                "path_regex": "/jobs$",
                "code": 200,
                "body": "<html>sign in</html>",
                "content_type": "text/html",
            },
            id="captive portal",
        ),
        pytest.param("reset", {"path_regex": "/files/.*/url$"}, id="connection reset"),
        pytest.param("cut_body_after", {"path_regex": "/download$", "bytes": 20000}, id="download cut off"),
        pytest.param("status", {"path_regex": "/upload$", "code": 500}, id="upload refused once"),
        pytest.param("lose_response", {"path_regex": "/upload$"}, id="answer to an upload lost"),
    ],
)
@pytest.mark.row(38)
def test_a_fault_of_the_api_or_the_line_is_survived(
    mock: MockServer, worker: WorkerProcess, fault: str, settings: dict[str, Any]
) -> None:
    """Whatever goes wrong on the way once, the job ends as it should, and the fault did happen."""
    number = mock.control.fault(fault, **settings)
    job = submit(mock)
    worker.start()

    mock.control.wait_status(job, "finished", timeout_seconds=90)

    assert mock.control.fired(number) >= 1
    assert told(mock, job) == GOOD
    assert mock.control.uploaded(job, "output/output/x") == CONTENT
    assert mock.control.violations() == []


def test_a_worker_starts_while_the_api_is_away(mock: MockServer, worker: WorkerProcess) -> None:
    """A machine that boots before its network waits, and then works."""
    job = submit(mock)
    mock.control.down()
    worker.start()
    until("a first try", lambda: worker.log.exists() and "fetch.postponed" in worker.log.read_text())
    mock.control.up()

    mock.control.wait_status(job, "finished", timeout_seconds=90)


@pytest.mark.row(27)
def test_login_and_presigned_urls(tmp_path: Path) -> None:
    """With an account instead of a token and S3 instead of the local disk; tokens end in between."""
    with MockServer(tmp_path / "api", "--files", "presigned", "--token-seconds", "3600") as mock:
        mock.control.add_account("lab", password="pass-phrase")
        variables = {
            "ACCESS_TOKEN": "",
            "USERNAME": "lab",
            "PASSWORD": "pass-phrase",
            "COGNITO_URL": f"{mock.url}/cognito",
            "RUNNER": "process",
        }
        with WorkerProcess(tmp_path / "worker", mock.url, **variables) as worker:
            first = submit(mock, "touch /files/output/began; sleep 1; cp /files/data/x /files/output/")
            worker.start()
            mock.control.wait_status(first, "running", timeout_seconds=60)
            mock.control.expire_tokens()
            mock.control.wait_status(first, "finished", timeout_seconds=60)

            assert mock.control.uploaded(first, "output/output/x") == CONTENT
            assert mock.control.violations() == []
            assert "pass-phrase" not in worker.log.read_text()


@pytest.mark.row(54)
def test_a_second_worker_on_the_same_folder_is_refused(mock: MockServer, worker: WorkerProcess) -> None:
    """It exits at once, names the first one's process, and does the first no harm."""
    worker.start()
    until("the lock", lambda: (worker.base / "jobfetcher.lock").exists() and worker.state("0") is None)
    until("the start", lambda: "worker.started" in worker.log.read_text())
    with WorkerProcess(worker.base, mock.url, RUNNER="process") as second:
        second.log = worker.base.parent / "second.log"

        assert second.start().ended() == 3
        assert f"process {worker.process.pid}" in second.log.read_text()
    job = submit(mock)
    mock.control.wait_status(job, "finished", timeout_seconds=60)


@pytest.mark.row(59)
def test_a_second_signal_ends_at_once(mock: MockServer, worker: WorkerProcess) -> None:
    """While the first signal is still being obeyed, a second one is final; nothing is lost."""
    job = submit(mock)
    worker.start(failpoints="download.before-rename=hang")
    worker.wait_for_state(str(job), "downloading")
    until("the hang", lambda: list(worker.base.glob("jobs/*/1.parts/*")))
    # Two of a kind could melt into one before the first is heard.
    worker.process.send_signal(signal.SIGTERM)
    worker.process.send_signal(signal.SIGINT)

    assert worker.ended() in (128 + signal.SIGTERM, 128 + signal.SIGINT)

    worker.start()
    mock.control.wait_status(job, "finished", timeout_seconds=60)
    assert told(mock, job) == GOOD


@pytest.mark.row(59)
def test_a_terminal_that_is_closed_ends_the_worker_in_order(mock: MockServer, worker: WorkerProcess) -> None:
    """SIGHUP is obeyed as SIGTERM is, also where it comes twice; the next start goes on."""
    job = submit(mock)
    worker.start(failpoints="download.before-rename=hang")
    worker.wait_for_state(str(job), "downloading")
    until("the hang", lambda: list(worker.base.glob("jobs/*/1.parts/*")))
    worker.process.send_signal(signal.SIGHUP)
    until("the end", lambda: "worker.stopping" in worker.log.read_text())
    worker.process.send_signal(signal.SIGHUP)

    assert (0, True) == (worker.ended(), "worker.stopped" in worker.log.read_text())

    worker.start()
    mock.control.wait_status(job, "finished", timeout_seconds=60)
    assert told(mock, job) == GOOD


@pytest.mark.row(59)
def test_a_step_that_hangs_does_not_hold_up_the_exit(mock: MockServer, worker: WorkerProcess) -> None:
    """Within five seconds the worker is gone, whatever a step is doing."""
    job = submit(mock)
    worker.start(failpoints="download.before-rename=hang")
    worker.wait_for_state(str(job), "downloading")
    until("the hang", lambda: list(worker.base.glob("jobs/*/1.parts/*")))
    worker.process.send_signal(signal.SIGTERM)

    assert worker.ended(seconds=7) == 0


def test_wrong_settings_end_in_one_message(tmp_path: Path) -> None:
    """Exit code 2, the variables' names, and no traceback."""
    with WorkerProcess(tmp_path / "worker", "api.example.org", TIMEOUT_JOB="soon") as worker:
        assert worker.start().ended() == 2

        said = worker.log.read_text()
    assert "API_URL (environment): must start with http:// or https://" in said
    assert "TIMEOUT_JOB" in said
    assert "Traceback" not in said


@pytest.mark.row(61)
def test_a_bug_in_a_step_costs_attempts_and_not_the_worker(mock: MockServer, worker: WorkerProcess) -> None:
    """An unexpected error fails the job after some attempts, with its text; the next job runs."""
    bad = submit(mock)
    worker.start(failpoints="upload.log-spooled=raise")
    mock.control.wait_status(bad, "error", timeout_seconds=100)

    assert "Gave up after 5 attempts" in details(mock, bad)
    assert worker.process.poll() is None


@pytest.mark.row(48)
def test_a_database_that_is_deleted_under_the_worker_ends_it(mock: MockServer, worker: WorkerProcess) -> None:
    """It does not write into a file that nobody will find: it says so and exits with 1."""
    worker.start()
    until("a question for jobs", lambda: any(r.path == "/jobs" for r in mock.control.requests()))
    (worker.base / "jobfetcher.db").unlink()

    assert worker.ended(seconds=30) == 1
    assert "was deleted or replaced" in worker.log.read_text()


def command(worker: WorkerProcess, *arguments: str) -> str:
    line = [sys.executable, "-m", "jobfetcher", *arguments, "--path-base", str(worker.base)]
    return subprocess.run(line, check=True, capture_output=True, text=True).stdout


def test_the_commands_look_at_a_worker_that_runs_and_at_one_that_does_not(
    mock: MockServer, worker: WorkerProcess
) -> None:
    """``jobs``, ``show`` and ``graph`` read the database at any time."""
    job = submit(mock, "echo no beads; exit 3")
    worker.start()
    mock.control.wait_status(job, "error", timeout_seconds=60)
    alive = [command(worker, "jobs"), command(worker, "show", str(job)), command(worker, "graph", str(job))]
    worker.kill()
    dead = [command(worker, "jobs"), command(worker, "show", str(job)), command(worker, "graph", str(job))]

    for jobs, show, graph in (alive, dead):
        assert "exit code 3" in jobs
        assert "no beads" in show
        assert "> error" in graph
    assert '"state": "error"' in command(worker, "jobs", "--json", "--state", "error")
    assert command(worker, "jobs", "--json", "--state", "finished").strip() == "[]"
    assert '"exit"' in command(worker, "show", str(job), "--json")
