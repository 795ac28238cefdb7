"""What every runner keeps, asserted over each of them."""

import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from jobfetcher.runners.docker import DockerRunner
from jobfetcher.runners.process import ProcessRunner
from jobfetcher.runners.views import best_view, rewritten
from jobfetcher.stop import StopSignal
from states.errors import JobGone, Paused, RunLost
from states.job import Job, Run
from states.ports import Runner
from states.spec import JobSpec
from tests.images import DEFAULT, busybox_image
from tests.stops import set_after

DEADLINE = 30.0
MARK = "echo started >> /files/starts; "


@dataclass
class Bench:
    """A runner, and what a test does with it. Leaves nothing behind."""

    fresh: Callable[[str], Runner]
    folder: Path
    worker: str = field(default_factory=lambda: f"t{uuid.uuid4().hex[:8]}")

    def __post_init__(self) -> None:
        self.runner = self.fresh(self.worker)
        self.stop = StopSignal()

    def job(self, *cmd: str, number: int = 1, env: dict[str, str] | None = None) -> Job:
        raw = {
            "app": {"cmd": list(cmd), "env": env},
            "handler": {"image_url": DEFAULT},
            "meta": {"job_id": number, "date_created": "2024-01-01T00:00:00"},
            "hardware": {},
        }
        job = Job(key=number, worker=self.worker, spec=JobSpec.parse(str(number), raw))
        return job.with_facts(image_id=self.runner.prepare(job.spec, self.stop))

    def started(self, *cmd: str, **more: dict[str, str]) -> tuple[Job, Run]:
        job = self.job(*cmd, **more)  # type: ignore[arg-type] # only env is passed through
        created = self.runner.create(job, self.folder, self.stop)
        return job.with_facts(run=created), self.runner.start(job, created, self.stop)

    def finished(self, *cmd: str, **more: dict[str, str]) -> tuple[Job, Run, int]:
        job, run = self.started(*cmd, **more)
        return job, run, self.runner.wait(job, run, self.stop).code

    def starts(self) -> int:
        marks = self.folder / "starts"
        return len(marks.read_text().splitlines()) if marks.exists() else 0

    def until(self, name: str) -> None:
        """Wait for the job to have made the file ``name`` in its folder."""
        deadline = time.monotonic() + DEADLINE
        while not (self.folder / name).exists():
            assert time.monotonic() < deadline, f"the job never made {name}"
            time.sleep(0.01)

    def log(self, run: Run) -> bytes:
        return b"".join(self.runner.logs(run, self.stop))


def _docker(worker: str) -> DockerRunner:
    return DockerRunner(worker, network="none", pull="missing", pull_backoff=())


@pytest.fixture(params=[pytest.param("docker", marks=pytest.mark.docker), "process", "process-rewritten"])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    folder = tmp_path / "files"
    folder.mkdir()
    made: list[Runner] = []

    def fresh(worker: str) -> Runner:
        view = rewritten if request.param == "process-rewritten" else best_view
        is_docker = request.param == "docker"
        made.append(_docker(worker) if is_docker else ProcessRunner(worker, tmp_path / "runs", view))
        return made[-1]

    if request.param == "docker":
        busybox_image()
    bench = Bench(fresh, folder)
    yield bench
    for runner in made:
        for name in runner.owned():
            runner.remove(name)
        if isinstance(runner, DockerRunner):
            runner.close()


def test_a_created_run_is_not_started(bench: Bench) -> None:
    """Creating starts nothing, and creating twice makes one run."""
    job = bench.job(MARK)

    first = bench.runner.create(job, bench.folder, bench.stop)
    second = bench.fresh(bench.worker).create(job, bench.folder, bench.stop)

    assert first == second
    assert bench.starts() == 0


def test_a_created_run_is_started_once(bench: Bench) -> None:
    """However often a run is started, by whichever runner object, its command runs once."""
    job, run, code = bench.finished(MARK)

    again = bench.fresh(bench.worker).start(job, run, bench.stop)

    assert (0, run, 1) == (code, again, bench.starts())


def test_a_running_one_is_adopted(bench: Bench) -> None:
    """A new runner object finds the running command and waits for its own end."""
    job, run = bench.started(MARK, "touch /files/up; while ! test -e /files/go; do sleep 0.05; done; exit 5")
    bench.until("up")
    other = bench.fresh(bench.worker)

    found = other.start(job, other.create(job, bench.folder, bench.stop), bench.stop)
    (bench.folder / "go").touch()

    assert run == found
    assert other.wait(job, found, bench.stop).code == 5
    assert bench.starts() == 1


def test_an_exited_one_is_collected(bench: Bench) -> None:
    """A worker that died after the command's end gets its true code, and starts nothing."""
    job, run, _ = bench.finished(MARK, "exit 7")
    other = bench.fresh(bench.worker)

    created = other.create(job.with_facts(run=None), bench.folder, bench.stop)
    ended = other.wait(job, other.start(job, created, bench.stop), bench.stop)

    assert run.id == created.id
    assert (ended.code, bench.starts()) == (7, 1)


@pytest.mark.parametrize(
    ("command", "code"),
    [
        pytest.param("true", 0, id="well"),
        pytest.param("exit 3", 3, id="own code"),
        pytest.param("/bin/no-such-command", 127, id="unknown command"),
        pytest.param("kill -9 $$", 137, id="killed"),
        pytest.param("kill -TERM $$", 143, id="terminated"),
    ],
)
def test_exit_codes(bench: Bench, command: str, code: int) -> None:
    """The command's code is the shell's, with 128 + n for signal n, and a time of start and end."""
    job, run = bench.started(command)

    ended = bench.runner.wait(job, run, bench.stop)

    assert (code, "") == (ended.code, ended.reason)
    assert ended.started_at is not None
    assert ended.finished_at is not None
    assert ended.finished_at - ended.started_at > -1


def test_the_log_is_whole(bench: Bench) -> None:
    """Both streams are in the log, with the last line, whatever its size."""
    _, run, _ = bench.finished("seq 1 50000; echo oops >&2; printf last")

    lines = bench.log(run).decode().splitlines()

    assert {"oops", "50000"} <= set(lines[-3:]) | {"last"} | set(lines)
    assert sorted(map(str, range(1, 50001))) == sorted(line for line in lines if line.isdigit())
    assert "last" in lines[-1]


def test_the_log_of_a_lost_run_is_empty(bench: Bench) -> None:
    """A run that is gone has no log."""
    _, run, _ = bench.finished("echo there")
    bench.runner.remove(run.name)

    assert bench.log(run) == b""


def test_the_environment_is_the_jobs(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The job sees its own variables and none of the worker's."""
    monkeypatch.setenv("ACCESS_TOKEN", "secret")
    _, run, _ = bench.finished('echo "$GREETING"; env', env={"GREETING": "grüß dich, $HOME"})

    log = bench.log(run).decode()

    assert "grüß dich, $HOME" in log.splitlines()
    assert "secret" not in log


def test_the_folder_is_read_and_written(bench: Bench) -> None:
    """The job's folder is /files, both ways."""
    (bench.folder / "in.txt").write_text("hello")

    code = bench.finished("tr a-z A-Z < /files/in.txt > /files/out.txt")[2]

    assert (code, (bench.folder / "out.txt").read_text()) == (0, "HELLO")


def test_stop_gives_time_to_end(bench: Bench) -> None:
    """A command that traps TERM ends by itself within the grace."""
    script = "trap 'echo bye > /files/bye; exit 4' TERM; touch /files/up; while :; do sleep 0.05; done"
    job, run = bench.started(script)
    bench.until("up")

    bench.runner.stop(run.name, DEADLINE)

    assert bench.runner.wait(job, run, bench.stop).code == 4
    assert (bench.folder / "bye").read_text() == "bye\n"


def test_stop_kills_after_the_grace(bench: Bench) -> None:
    """A command that ignores TERM is killed, and so is what it has started."""
    beat = "(trap '' TERM; while :; do date +%s%N > /files/beat; sleep 0.05; done) & "
    job, run = bench.started("trap '' TERM; ", beat, "touch /files/up; while :; do sleep 0.05; done")
    bench.until("up")
    bench.until("beat")

    bench.runner.stop(run.name, 1)
    last = (bench.folder / "beat").read_text()
    time.sleep(0.3)

    assert bench.runner.wait(job, run, bench.stop).code == 137
    assert (bench.folder / "beat").read_text() == last


def test_stop_and_remove_are_quiet(bench: Bench) -> None:
    """Stopping and removing what is not there, has ended or was never started harms nothing."""
    bench.runner.stop("jobfetcher-nobody-0-1", 0)
    bench.runner.remove("jobfetcher-nobody-0-1")
    created = bench.runner.create(bench.job("true"), bench.folder, bench.stop)
    bench.runner.stop(created.name, 0)

    bench.runner.remove(created.name)
    bench.runner.remove(created.name)

    assert bench.runner.owned() == []


def test_a_running_one_is_removed(bench: Bench) -> None:
    """Removing ends what runs."""
    _, run = bench.started("touch /files/up; sleep 1000")
    bench.until("up")

    bench.runner.remove(run.name)

    assert bench.runner.owned() == []


def test_a_vanished_run_is_lost(bench: Bench) -> None:
    """A run that somebody removed is neither waited for nor made anew."""
    job, run = bench.started("sleep 1000")
    bench.fresh(bench.worker).remove(run.name)

    with pytest.raises(RunLost):
        bench.runner.wait(job, run, bench.stop)
    with pytest.raises(RunLost):
        bench.runner.create(job, bench.folder, bench.stop)
    with pytest.raises(RunLost):
        bench.runner.start(job, run, bench.stop)


def test_an_exit_of_another_epoch_is_not_believed(bench: Bench) -> None:
    """A run last seen alive before a restart was interrupted, whatever its code."""
    job, run, _ = bench.finished("true")

    with pytest.raises(RunLost, match="restarted"):
        bench.runner.wait(job, run.model_copy(update={"epoch": "before"}), bench.stop)


def test_a_stop_ends_the_waiting_only(bench: Bench) -> None:
    """A worker that stops leaves at once and lets the job run on."""
    job, run = bench.started("while ! test -e /files/go; do sleep 0.05; done; exit 9")

    with set_after(0.2) as stop, pytest.raises(Paused):
        bench.runner.wait(job, run, stop)

    (bench.folder / "go").touch()
    assert bench.runner.wait(job, run, bench.stop).code == 9


def test_a_forgotten_job_ends_the_waiting(bench: Bench) -> None:
    """The API's 404 reaches the one who waits."""
    job, run = bench.started("sleep 1000")

    with set_after(0.2, "gone") as stop, pytest.raises(JobGone):
        bench.runner.wait(job, run, stop)


def test_owned_are_exactly_ours(bench: Bench) -> None:
    """Every run of this worker is listed, in any state, and none of another worker's."""
    other = bench.fresh(f"{bench.worker}x")
    mine = [bench.job("true", number=number) for number in (1, 2)]
    theirs = bench.job("true", number=3).model_copy(update={"worker": f"{bench.worker}x"})

    bench.started("true")
    bench.runner.create(mine[1], bench.folder, bench.stop)
    other.create(theirs, bench.folder, bench.stop)

    assert sorted(job.run_name for job in mine) == bench.runner.owned()
    assert [theirs.run_name] == other.owned()
