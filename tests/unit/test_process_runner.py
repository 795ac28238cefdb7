"""What is special about jobs that are processes of this machine."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobfetcher.runners.process import ProcessRunner
from jobfetcher.runners.views import best_view, may_mount, mounted, rewritten
from jobfetcher.stop import StopSignal
from states.errors import JobFailed, RunLost
from states.job import Job
from states.spec import JobSpec

DEADLINE = 30.0


@pytest.fixture
def runner(tmp_path: Path) -> Iterator[ProcessRunner]:
    runner = ProcessRunner("w", tmp_path / "runs", rewritten)
    yield runner
    for name in runner.owned():
        runner.remove(name)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "files").mkdir()
    return tmp_path / "files"


@pytest.fixture
def stop() -> StopSignal:
    return StopSignal()


def make_job(*cmd: str, worker: str = "w") -> Job:
    raw = {
        "app": {"cmd": list(cmd) or None},
        "handler": {"image_url": "img"},
        "meta": {"job_id": 1, "date_created": "x"},
        "hardware": {},
    }
    return Job(key=1, worker=worker, spec=JobSpec.parse("1", raw))


def until(path: Path) -> None:
    deadline = time.monotonic() + DEADLINE
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} never came"
        time.sleep(0.01)


WORKER = """
import os, signal, sys
from pathlib import Path
from jobfetcher.runners.process import ProcessRunner
from jobfetcher.stop import StopSignal
from states.job import Job
job = Job.model_validate_json(sys.argv[1])
runner = ProcessRunner("w", Path(sys.argv[2]))
run = runner.create(job, Path(sys.argv[3]), StopSignal())
runner.start(job, run, StopSignal())
os.killpg(0, signal.SIGKILL)
"""


SHIM = """
import sys
from pathlib import Path
from jobfetcher.runners import process_shim
process_shim.detach = lambda: None
process_shim.main(Path(sys.argv[1]))
"""


def test_a_job_survives_its_workers_sigkill(
    runner: ProcessRunner, folder: Path, tmp_path: Path, stop: StopSignal
) -> None:
    """The worker and its whole process group are killed; the job goes on and its code is collected."""
    job = make_job("echo >> /files/starts; while ! test -e /files/go; do sleep 0.05; done; exit 8")
    argv = [sys.executable, "-c", WORKER, job.model_dump_json(), str(tmp_path / "runs"), str(folder)]

    killed = subprocess.run(argv, start_new_session=True, check=False)
    run = runner.start(job, runner.create(job, folder, stop), stop)
    (folder / "go").touch()

    assert killed.returncode == -signal.SIGKILL
    assert runner.wait(job, run, stop).code == 8
    assert (folder / "starts").read_text() == "\n"


def test_a_killed_shim_is_a_lost_run(
    runner: ProcessRunner, folder: Path, tmp_path: Path, stop: StopSignal
) -> None:
    """Nobody saw the command's end: nothing is believed, nothing is started again, nothing is left."""
    beat = "(while :; do date +%s%N > /files/beat; sleep 0.05; done) &"
    job = make_job(beat, "echo >> /files/starts; touch /files/up; sleep 1000")
    run = runner.start(job, runner.create(job, folder, stop), stop)
    until(folder / "up")
    until(folder / "beat")
    until(tmp_path / "runs" / run.name / "child.json")
    shim = json.loads((tmp_path / "runs" / run.name / "shim.json").read_text())["pid"]
    os.kill(shim, signal.SIGKILL)

    with pytest.raises(RunLost, match="killed from outside"):
        runner.wait(job, runner.start(job, run, stop), stop)
    runner.stop(run.name, 0)
    last = (folder / "beat").read_text()
    time.sleep(0.3)
    assert (folder / "beat").read_text() == last
    assert (folder / "starts").read_text() == "\n"


def test_the_shim_starts_nothing_twice(
    runner: ProcessRunner, folder: Path, tmp_path: Path, stop: StopSignal
) -> None:
    """A second shim, however it came about, leaves a run alone that was ever started."""
    job = make_job("echo >> /files/starts")
    run = runner.start(job, runner.create(job, folder, stop), stop)
    runner.wait(job, run, stop)

    subprocess.run([sys.executable, "-c", SHIM, str(tmp_path / "runs" / run.name)], check=True)

    assert (folder / "starts").read_text() == "\n"


def test_no_command_fails(runner: ProcessRunner, folder: Path, stop: StopSignal) -> None:
    """There is no image whose command could run."""
    with pytest.raises(JobFailed, match="needs one"):
        runner.create(make_job(), folder, stop)


def test_a_foreign_folder_is_left_alone(
    runner: ProcessRunner, folder: Path, tmp_path: Path, stop: StopSignal
) -> None:
    """A folder under our name that is not ours fails the job and stays."""
    job = make_job("true")
    foreign = tmp_path / "runs" / job.run_name / "theirs"
    foreign.mkdir(parents=True)

    with pytest.raises(JobFailed, match="not make it"):
        runner.create(job, folder, stop)
    runner.remove(job.run_name)
    assert foreign.is_dir()


def test_a_missing_shell_is_an_exit(folder: Path, tmp_path: Path, stop: StopSignal) -> None:
    """What cannot be started ends with 127 and a reason."""
    view = rewritten("true", folder, False)
    broken = ProcessRunner("w", tmp_path / "runs", lambda *_: type(view)(["/none/sh"], view.cwd, view.front))
    job = make_job("true")
    run = broken.start(job, broken.create(job, folder, stop), stop)

    ended = broken.wait(job, run, stop)

    assert ended.code == 127
    assert "cannot be started" in ended.reason


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        pytest.param("cat /files/a > /files/b/c", "cat /w/a > /w/b/c", id="paths"),
        pytest.param("ls '/files'", "ls '/w'", id="quoted"),
        pytest.param("x=/files;echo $x", "x=/w;echo $x", id="assigned"),
        pytest.param("cat /my/files/a /filesystem /files.txt", None, id="others"),
    ],
)
def test_rewriting(command: str, expected: str | None) -> None:
    """Only /files itself and what is below it is changed."""
    assert rewritten(command, Path("/w"), False).argv[-1] == (expected or command)


def test_a_folder_that_a_shell_would_split_is_refused() -> None:
    """Nothing is put into a command that its shell could take for more than a path."""
    with pytest.raises(JobFailed, match="install bubblewrap"):
        rewritten("ls /files", Path("/a b; rm"), False)


def test_a_mount_of_its_own_is_used_where_that_is_allowed(
    folder: Path, tmp_path: Path, stop: StopSignal
) -> None:
    """As root each job sees its own folder at /files, and no other process does."""
    runner = ProcessRunner("w", tmp_path / "runs", mounted if may_mount() else best_view)
    job = make_job("echo mine > /files/here")
    run = runner.start(job, runner.create(job, folder, stop), stop)

    assert runner.wait(job, run, stop).code == 0
    assert (folder / "here").read_text() == "mine\n"
    assert not Path("/files/here").exists()
    runner.remove(run.name)
