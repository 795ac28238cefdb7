"""Operators' commands act on a real worker while it runs, against the mock API over a socket."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobfetcher.lock import holder
from mock_api.client import MockServer
from tests.service_view import CONTENT, details, submit, told
from tests.worker_process import WorkerProcess, until

AFTERWARDS = "upload_after_terminal"
"""The one rule that 'retry-upload' of an ended job breaks on purpose: the service takes it."""


@pytest.fixture
def worker(tmp_path: Path, mock: MockServer) -> Iterator[WorkerProcess]:
    with WorkerProcess(tmp_path / "worker", mock.url, RUNNER="process", STOP_GRACE="1") as made:
        yield made


def ask(worker: WorkerProcess, *command: str, code: int = 0) -> dict[str, Any]:
    """Give a running worker a command and return what it says as JSON."""
    until("the worker to be up", lambda: holder(worker.base))
    said = ask_anyway(worker, *command, code=code)
    assert said["done"] is True
    return said


def ask_anyway(worker: WorkerProcess, *command: str, code: int = 0) -> dict[str, Any]:
    """The same, whether it runs or not."""
    argv = [sys.executable, "-m", "jobfetcher", *command, "--json", "--path-base", str(worker.base)]
    argv += ["--timeout", "60"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert (code, "") == (done.returncode, done.stderr), done.stdout
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def working(worker: WorkerProcess, name: str = "began") -> None:
    """Wait until a command has left its mark."""
    until("the command to run", lambda: list(worker.base.glob(f"jobs/*/1/output/{name}")))


def all_gone(worker: WorkerProcess) -> None:
    until("nothing left", lambda: not [*worker.base.glob("jobs/*"), *worker.base.glob("runs/*")])


# ------------------------------------------------------------------ cancel


def test_a_running_job_is_cancelled(mock: MockServer, worker: WorkerProcess) -> None:
    """It ends in ``error`` with the operator's words; its command is ended, nothing of it is uploaded, and
    the next job runs."""
    job = submit(mock, "touch /files/output/began; sleep 300")
    worker.start()
    mock.control.wait_status(job, "running", timeout_seconds=60)
    working(worker)

    said = ask(worker, "cancel", str(job), "--reason", "The GPU is needed.")

    assert (said["done"], said["answer"]) == (
        True,
        f"Job {job} is cancelled; the API is told that it failed.",
    )
    mock.control.wait_status(job, "error", timeout_seconds=60)
    assert details(mock, job) == "Cancelled by the operator of the machine: The GPU is needed."
    all_gone(worker)
    other = submit(mock)
    mock.control.wait_status(other, "finished", timeout_seconds=60)
    assert told(mock, job) == ["preprocessing", "running", "error"]
    assert (mock.control.uploads(job), mock.control.violations()) == ([], [])


@pytest.mark.parametrize(
    ("fault", "settings", "state"),
    [
        pytest.param("hang", {"path_regex": "/download$"}, "downloading", id="downloading"),
        pytest.param("hang", {"path_regex": "/upload$"}, "uploading", id="uploading"),
        pytest.param(
            "status", {"path_regex": "/upload$", "code": 503, "times": None}, "uploading", id="pausing"
        ),
    ],
)
def test_a_job_is_cancelled_in_the_middle_of_a_transfer(
    mock: MockServer, worker: WorkerProcess, fault: str, settings: dict[str, Any], state: str
) -> None:
    """A transfer that hangs, or a pause between two tries, is left at once."""
    number = mock.control.fault(fault, **settings)
    job = submit(mock)
    worker.start()
    worker.wait_for_state(str(job), state)
    until("the fault", lambda: mock.control.fired(number))

    assert ask(worker, "cancel", str(job))["refused"] is False

    mock.control.wait_status(job, "error", timeout_seconds=60)
    assert details(mock, job) == "Cancelled by the operator of the machine."
    mock.control.clear_faults()
    all_gone(worker)
    assert mock.control.uploads(job) == []
    assert mock.control.violations() == []


@pytest.mark.row(70)
def test_a_job_is_cancelled_while_the_api_is_away(mock: MockServer, worker: WorkerProcess) -> None:
    """It ends here at once, also where it waits for the API to say that it is still ours; the API hears of
    it when it is back."""
    job = submit(mock, "echo out > /files/output/out")
    worker.start(failpoints="uploading.committed=kill")
    assert worker.killed_itself()
    fault = mock.control.down()
    worker.start()
    until("the API to be missed", lambda: "status.not-reported" in worker.log.read_text())
    assert (worker.state(str(job)), mock.control.fired(fault) > 0) == ("uploading", True)

    assert ask(worker, "cancel", str(job))["refused"] is False
    assert worker.state(str(job)) == "error"

    mock.control.up()
    mock.control.wait_status(job, "error", timeout_seconds=90)
    assert told(mock, job) == ["preprocessing", "running", "postprocessing", "error"]
    assert mock.control.uploads(job) == []
    assert mock.control.violations() == []


def test_what_has_ended_cannot_be_cancelled(mock: MockServer, worker: WorkerProcess) -> None:
    """The command says so, ends with 1, and asks the worker nothing."""
    job = submit(mock)
    worker.start()
    worker.wait_for_state(str(job), "finished")
    argv = [sys.executable, "-m", "jobfetcher", "cancel", str(job), "--path-base", str(worker.base)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)

    assert (1, f"jobfetcher: Job {job} has ended already: finished.\n") == (done.returncode, done.stderr)


# ------------------------------------------------------------------ drain, resume


@pytest.mark.row(72)
def test_a_drained_worker_finishes_ends_and_stays_idle_until_resumed(
    mock: MockServer, worker: WorkerProcess
) -> None:
    """It takes nothing more, sees its job to its reported end and exits with 0. Started again it is up and
    idle; 'resume' lets it fetch."""
    job = submit(mock, "touch /files/output/began; while [ ! -e /files/go ]; do sleep 0.1; done")
    worker.start()
    working(worker)
    said = ask(worker, "drain")
    later = submit(mock)

    assert (said["jobs"], worker.state(str(job))) == (1, "running")
    waiting = subprocess.Popen(
        [sys.executable, "-m", "jobfetcher", "drain", "--wait", "--json", "--path-base", str(worker.base)],
        stdout=subprocess.PIPE,
        text=True,
    )
    until("both to be done", lambda: worker.log.read_text().count("request.done") == 2)
    [folder] = worker.base.glob("jobs/*/1")
    (folder / "go").touch()

    assert worker.ended() == 0
    assert json.loads(waiting.communicate()[0])["ended"] is True
    assert waiting.returncode == 0
    assert mock.control.statuses(job)[-1] == "finished"
    assert [*worker.base.glob("jobs/*"), *worker.base.glob("runs/*")] == []

    worker.start()
    asked = ask(worker, "prune")  # done by the worker, so it is up
    assert asked["refused"] is False
    assert (worker.state(str(later)), worker.process.poll()) == (None, None)

    assert ask(worker, "resume")["answer"] == "The worker fetches jobs again."
    mock.control.wait_status(later, "finished", timeout_seconds=60)
    assert mock.control.violations() == []


def test_a_worker_that_drains_can_be_resumed(mock: MockServer, worker: WorkerProcess) -> None:
    """Taken back before the last job has ended, it simply fetches again."""
    job = submit(mock, "touch /files/output/began; while [ ! -e /files/go ]; do sleep 0.1; done")
    worker.start()
    working(worker)
    ask(worker, "drain")
    ask(worker, "resume")
    later = submit(mock)
    [folder] = worker.base.glob("jobs/*/1")
    (folder / "go").touch()

    mock.control.wait_status(job, "finished", timeout_seconds=60)
    mock.control.wait_status(later, "finished", timeout_seconds=60)
    assert worker.process.poll() is None


def test_a_drained_worker_waits_for_the_api(mock: MockServer, worker: WorkerProcess) -> None:
    """The end of the last job must have been heard before the worker leaves."""
    job = submit(mock, "touch /files/output/began; while [ ! -e /files/go ]; do sleep 0.1; done")
    worker.start()
    working(worker)
    ask(worker, "drain")
    fault = mock.control.fault("status", method="PUT", query_regex="finished", code=503, times=None)
    [folder] = worker.base.glob("jobs/*/1")
    (folder / "go").touch()
    until("the end to be told in vain", lambda: mock.control.fired(fault))
    assert worker.process.poll() is None

    mock.control.clear_faults()

    assert worker.ended() == 0
    assert mock.control.statuses(job)[-1] == "finished"


# ------------------------------------------------------------------ retry-upload


def test_an_upload_does_not_wait_out_its_pause(mock: MockServer, worker: WorkerProcess) -> None:
    """A storage that asked for an hour's patience is tried again at once when the operator says so."""
    fault = mock.control.fault(
        "status", path_regex="/upload$", code=503, headers={"Retry-After": "3600"}, times=None
    )
    job = submit(mock)
    worker.start()
    until("the upload to fail", lambda: mock.control.fired(fault))
    mock.control.clear_faults()

    said = ask(worker, "retry-upload", str(job))

    assert said["answer"] == f"Job {job} goes on uploading at once."
    mock.control.wait_status(job, "finished", timeout_seconds=60)
    assert mock.control.uploaded(job, "output/output/x") == CONTENT
    assert mock.control.violations() == []


def test_all_of_an_upload_goes_again(mock: MockServer, worker: WorkerProcess) -> None:
    """With ``--all`` also what was acknowledged before is uploaded once more."""
    job = submit(mock, "echo 1 > /files/output/1; echo 2 > /files/output/2", files_down={})
    fault = mock.control.fault(
        "status",
        path_regex="/upload$",
        query_regex="type=log",
        code=503,
        headers={"Retry-After": "3600"},
        times=None,
    )
    worker.start()
    until("the log to be refused", lambda: mock.control.fired(fault))
    before = len(mock.control.timeline(job))
    mock.control.clear_faults()

    ask(worker, "retry-upload", str(job), "--all")

    mock.control.wait_status(job, "finished", timeout_seconds=60)
    again = [event for event in mock.control.timeline(job)[before:] if event.kind == "upload"]
    assert len(again) == 3
    assert mock.control.violations() == []


def test_an_ended_jobs_results_are_uploaded_again(mock: MockServer, worker: WorkerProcess) -> None:
    """As long as its folder is there; without a word to the API about its status."""
    job = submit(mock)
    worker.start(KEEP_JOBS="1")
    mock.control.wait_status(job, "finished", timeout_seconds=60)
    heard = len(mock.control.statuses(job))

    nothing = ask(worker, "retry-upload", str(job))
    said = ask(worker, "retry-upload", str(job), "--all")

    assert (nothing["files"], said["files"], said["bytes"]) == (0, 1, len(CONTENT))
    assert len(mock.control.statuses(job)) == heard
    assert mock.control.uploaded(job, "output/output/x") == CONTENT
    assert mock.control.violations(AFTERWARDS) == []


def test_what_cannot_be_uploaded_again_is_refused(mock: MockServer, worker: WorkerProcess) -> None:
    """A job that has not come so far, one whose folder is gone, one that the API has forgotten."""
    gone = submit(mock)
    worker.start()
    mock.control.wait_status(gone, "finished", timeout_seconds=60)
    all_gone(worker)
    running = submit(mock, "touch /files/output/began; sleep 300")
    working(worker)

    assert "set KEEP_JOBS" in ask(worker, "retry-upload", str(gone), code=1)["answer"]
    assert (
        "nothing to upload yet: it is running" in ask(worker, "retry-upload", str(running), code=1)["answer"]
    )

    mock.control.delete_job(running)
    worker.wait_for_state(str(running), "cancelled")
    assert "has forgotten it" in ask(worker, "retry-upload", str(running), code=1)["answer"]


def test_no_upload_is_tried_for_ever(mock: MockServer, worker: WorkerProcess) -> None:
    """The API never says 404 for a job that was deleted after its end: it answers 500 to each upload."""
    job = submit(mock)
    worker.start(KEEP_JOBS="1")
    mock.control.wait_status(job, "finished", timeout_seconds=60)
    mock.control.delete_job(job)

    said = ask(worker, "retry-upload", str(job), "--all", code=1)

    assert "a job that was deleted" in said["answer"]


# ------------------------------------------------------------------ prune


def test_what_is_kept_is_pruned(mock: MockServer, worker: WorkerProcess) -> None:
    """KEEP_JOBS keeps an ended job's folder, not its process; 'prune' says what it would remove, then
    does it."""
    job = submit(mock, "cp /files/data/x /files/output/; touch /files/output/began")
    worker.start(KEEP_JOBS="1")
    mock.control.wait_status(job, "finished", timeout_seconds=60)
    until("its process to be removed", lambda: not list(worker.base.glob("runs/*")))
    live = submit(mock, "touch /files/output/live; sleep 300")
    working(worker, "live")
    lost = worker.base / "jobs" / "of-a-lost-database"
    lost.mkdir()
    (lost / "file").write_bytes(b"x" * 1000)
    kept = len([*worker.base.glob("jobs/*")])

    would = ask(worker, "prune", "--dry-run")
    assert (kept, len([*worker.base.glob("jobs/*")])) == (3, 3)
    said = ask(worker, "prune")

    expected = {"folders": 2, "bytes": 2 * len(CONTENT) + 1000, "containers": 0, "rows": {}, "stays": []}
    assert expected == {name: would[name] for name in expected}
    assert expected == {name: said[name] for name in expected}
    assert [place.name.split("-")[0] for place in worker.base.glob("jobs/*")] == [str(live)]


def test_a_request_to_a_worker_that_does_not_run_is_kept(mock: MockServer, worker: WorkerProcess) -> None:
    """The command says so and returns at once; the next start does it first."""
    worker.start()
    first = submit(mock)
    mock.control.wait_status(first, "finished", timeout_seconds=60)
    worker.kill()
    waiting = submit(mock)

    said = ask_anyway(worker, "drain")
    assert (said["done"], said["worker"]) == (False, None)

    worker.start()
    assert worker.ended() == 0
    assert (mock.control.statuses(waiting), worker.state(str(waiting))) == ([], None)
