"""Which ends of a container are taken from the events alone, and which are looked at, over an engine of the
test's own.

An end that events told has the moment of its event, one that was looked at the container's own FinishedAt.
"""

import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import docker
import pytest

from jobfetcher.runners.docker import DockerRunner
from jobfetcher.runners.engine import Stream
from jobfetcher.runners.exits import seconds
from jobfetcher.stop import StopSignal
from states.errors import Paused, RunLost
from states.job import Exit, Job, Run
from states.spec import JobSpec
from tests.docker.private_engine import PrivateEngine
from tests.images import DEFAULT, busybox_image

pytestmark = [pytest.mark.docker, pytest.mark.root, pytest.mark.timeout(120)]
DEADLINE = 30.0
MIB = 1024**2
WORK = "touch /files/up; while ! test -e /files/go; do sleep 0.02; done;"
"""Works until the test lets it go on."""
TRAP = f"trap 'exit 0' TERM; {WORK}"


class _WithoutSignals:
    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self.shutdown = stream.shutdown

    def chunks(self) -> Iterator[bytes]:
        rest = b""
        for chunk in self._stream.chunks():
            *lines, rest = (rest + chunk).split(b"\n")
            yield b"".join(line + b"\n" for line in lines if b'"Action":"kill"' not in line)


class Bench:
    """Jobs over a private engine, and what somebody else does to their containers."""

    def __init__(self, engine: PrivateEngine, folder: Path) -> None:
        busybox_image(DEFAULT, engine.base_url)
        self.engine, self.folder, self.stop = engine, folder, StopSignal()
        self.runner = self.fresh()
        self.docker = docker.APIClient(base_url=engine.base_url, version="auto")

    def fresh(self) -> DockerRunner:
        """Another worker process's runner."""
        url = self.engine.base_url
        return DockerRunner("t", base_url=url, network="none", pull="never", memory=32 * MIB)

    def hear_no_signals(self) -> None:
        """From now on events do not tell that the engine sends signals."""
        events = self.runner.engine.events

        @contextmanager
        def without(labels: Mapping[str, str]) -> Iterator[Stream]:
            with events(labels) as stream:
                yield _WithoutSignals(stream)

        self.runner.engine.events = without  # type: ignore[method-assign] # a stream that keeps something back

    def close(self) -> None:
        self.runner.close()
        self.docker.close()

    def start(self, command: str, number: int = 1) -> tuple[Job, Run]:
        raw = {
            "app": {"cmd": [command]},
            "handler": {"image_url": DEFAULT},
            "meta": {"job_id": number, "date_created": "2024-01-01"},
            "hardware": {},
        }
        job = Job(key=number, worker="t", spec=JobSpec.parse(str(number), raw))
        job = job.with_facts(image_id=self.runner.prepare(job.spec, self.stop))
        created = self.runner.create(job, self.folder, self.stop)
        return job, self.runner.start(job, created, self.stop)

    def working(self, command: str) -> tuple[Job, Run]:
        """The same, and its command is at work."""
        started = self.start(command)
        self.until((self.folder / "up").exists)
        return started

    def go(self) -> None:
        (self.folder / "go").touch()

    def until(self, true: Callable[[], object]) -> None:
        deadline = time.monotonic() + DEADLINE
        while not true():
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def ends_told(self, run: Run) -> list[int]:
        """Nanoseconds of the events."""
        wanted = {"container": run.id, "event": "die"}
        events = self.docker.events(since=0, until=int(time.time()) + 1, filters=wanted, decode=True)
        return [event["timeNano"] for event in events]

    def was_told(self, run: Run, ended: Exit) -> bool:
        return ended.finished_at in [moment / 10**9 for moment in self.ends_told(run)]

    @contextmanager
    def waited_for(self, job: Job, run: Run) -> Iterator[list[Exit | Exception]]:
        """Within the block a thread waits for the run; the list has what came of it after the block."""
        came: list[Exit | Exception] = []

        def wait() -> None:
            try:
                came.append(self.runner.wait(job, run, self.stop))
            except (Paused, RunLost) as error:
                came.append(error)

        thread = threading.Thread(target=wait)
        thread.start()
        yield came
        thread.join(DEADLINE)
        assert not thread.is_alive()


@pytest.fixture(scope="module")
def lasting() -> Iterator[PrivateEngine]:
    """An engine that no test ends."""
    with PrivateEngine() as engine:
        yield engine


@pytest.fixture
def bench(lasting: PrivateEngine, tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(lasting, tmp_path)
    yield bench
    for name in bench.runner.owned():
        bench.runner.remove(name)
    bench.close()


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[Bench]:
    """Over an engine that is to be ended."""
    with PrivateEngine() as engine:
        bench = Bench(engine, tmp_path)
        yield bench
        bench.close()


@pytest.mark.row(20)
def test_an_end_that_went_well_is_told(bench: Bench) -> None:
    """Not looked at: the engine would answer only once it has torn the container's network down."""
    job, run = bench.start("true")

    ended = bench.runner.wait(job, run, bench.stop)

    assert ended.ok
    assert bench.was_told(run, ended)
    assert ended.started_at is not None
    assert ended.finished_at is not None
    state = bench.docker.inspect_container(run.id)["State"]
    assert abs(ended.started_at - (seconds(state["StartedAt"]) or 0)) < DEADLINE
    assert ended.started_at < ended.finished_at


@pytest.mark.row(20)
def test_another_code_is_looked_at(bench: Bench) -> None:
    """Why it failed is more than the events tell."""
    job, run = bench.start("exit 3")

    ended = bench.runner.wait(job, run, bench.stop)

    assert ended.code == 3
    assert not bench.was_told(run, ended)


@pytest.mark.row(20)
def test_memory_that_ran_out_is_not_hidden_by_code_0(bench: Bench) -> None:
    """A child was killed for it, and the command went on and ended well."""
    job, run = bench.start("tail /dev/zero; exit 0")

    ended = bench.runner.wait(job, run, bench.stop)

    assert (0, "killed: out of memory (limit 32 MiB)") == (ended.code, ended.reason)


def test_an_end_after_somebodys_signal_is_looked_at(bench: Bench) -> None:
    """``docker stop`` by an operator, and the job traps it: its code counts, by inspection."""
    job, run = bench.working(TRAP)
    with bench.waited_for(job, run) as came:
        bench.docker.stop(run.id, timeout=20)

    (ended,) = came
    assert isinstance(ended, Exit)
    assert ended.code == 0
    assert not bench.was_told(run, ended)


@pytest.mark.row(17)
def test_news_of_an_earlier_run_of_a_container_ends_no_wait(bench: Bench) -> None:
    """Somebody starts the ended container again by hand: a worker that comes then waits for what runs, though
    the events of the first end are sent again."""
    job, run = bench.start(f"test -e /files/first && {{ {WORK} exit 5; }}; touch /files/first")
    bench.runner.wait(job, run, bench.stop)
    bench.docker.start(run.id)
    bench.until((bench.folder / "up").exists)
    bench.runner.close()
    bench.runner = bench.fresh()

    with bench.waited_for(job, run) as came:
        bench.go()

    (ended,) = came
    assert isinstance(ended, Exit)
    assert ended.code == 5


@pytest.mark.row(21)
def test_a_restart_by_hand_is_no_end_that_events_tell(bench: Bench) -> None:
    """``docker restart``: what the signal ended with 0 is looked at, and by then it may be running again."""
    job, run = bench.working(TRAP)
    with bench.waited_for(job, run) as came:
        bench.docker.restart(run.id, timeout=20)
        bench.go()

    (ended,) = came
    assert isinstance(ended, Exit)
    assert not bench.was_told(run, ended)


@pytest.mark.row(22)
def test_a_container_that_is_removed_under_us_is_lost(bench: Bench) -> None:
    """Whatever code its removal gave it."""
    job, run = bench.working(TRAP)
    with bench.waited_for(job, run) as came:
        bench.docker.remove_container(run.id, force=True)

    assert [RunLost] == [type(one) for one in came]


@pytest.mark.row(40)
@pytest.mark.parametrize("heard", ["all", "no signals"])
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_an_engine_that_ends_while_a_job_is_waited_for_tells_no_end(
    mortal: Bench, how: signal.Signals, heard: str
) -> None:
    """SIGTERM reaches the job too, which traps it and ends with 0, and the open stream tells so. Even if it
    did not tell of the signal, the engine would not answer the question that follows."""
    if heard == "no signals":
        mortal.hear_no_signals()
    job, run = mortal.working(TRAP)
    with mortal.waited_for(job, run) as came:
        mortal.engine.end(how)
    (ended,) = came
    assert isinstance(ended, Paused)

    mortal.engine.start()

    with pytest.raises(RunLost, match="interrupted"):
        mortal.runner.wait(job, mortal.runner.start(job, run, mortal.stop), mortal.stop)


@pytest.mark.row(40)
def test_only_the_life_that_told_an_end_remembers_it(mortal: Bench) -> None:
    """Not another one of the same engine, and nothing is taken for it that was told at another moment."""
    job, run = mortal.start("true")
    ended = mortal.runner.wait(job, run, mortal.stop)
    (moment,) = mortal.ends_told(run)
    engine = mortal.runner.engine
    assert mortal.was_told(run, ended)
    assert engine.remembers(run.id, moment)
    assert not engine.remembers(run.id, moment + 1)
    assert not engine.remembers("another", moment)

    mortal.engine.end(signal.SIGKILL)
    mortal.engine.start()

    assert not engine.remembers(run.id, moment)


@pytest.mark.row(25)
def test_a_log_that_the_engine_broke_off_is_not_the_whole(mortal: Bench) -> None:
    """The engine is killed while it sends the log: no clean end."""
    job, run = mortal.start("yes 0123456789 | head -n 3000000")
    mortal.runner.wait(job, run, mortal.stop)
    pieces = mortal.runner.logs(run, mortal.stop)
    next(pieces)
    mortal.engine.end(signal.SIGKILL)

    with pytest.raises(Paused, match="broke off"):
        for _ in pieces:
            pass
