"""What the container runner concludes when the engine is slow, silent or contradictory."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from jobfetcher.runners.config import Limits
from jobfetcher.runners.containers import ContainerRunner
from jobfetcher.runners.engine import Bell, Conflict, NotThere, Refused, Stream, StreamBroken, Unanswered
from jobfetcher.runners.images import Images
from jobfetcher.runners.story import Story
from jobfetcher.stop import StopSignal
from states.errors import JobFailed, Paused, RunLost
from states.job import Exit, Job, Run
from states.spec import JobSpec

NEVER, THEN = "0001-01-01T00:00:00Z", "2024-01-01T00:00:00Z"


class FakeEngine:
    """Containers in a dict. ``before`` and ``after`` hold what a call raises before or after its effect."""

    def __init__(self) -> None:
        self.containers: dict[str, dict[str, Any]] = {}
        self.images = {"img:latest": "sha256:1"}
        self.before: dict[str, list[Exception]] = {}
        self.after: dict[str, list[Exception]] = {}
        self.calls: list[str] = []
        self.lives = "life"
        self.refuses_logs: Exception | None = None
        self.away = 0
        """How many looks after a start find no engine."""
        self.pulls: list[list[bytes] | Exception] = []
        self.woken: Callable[[], None] = lambda: None
        self.frames = [b"\1\0\0\0\0\0\0\2hi"]
        self.memory_ran_out = False
        self.stories: dict[str, Story] = {}
        """What its events have told."""
        self.deaf = False
        """No bell is rung; a wait looks after its patience is over."""

    def life(self) -> str:
        return self.lives

    def inspect(self, container: str) -> dict[str, Any] | None:
        if "start" in self.calls and self.away:
            self.away -= 1
            raise Paused("The engine is away.")
        by_name = (one for one in self.containers.values() if one["Name"] == container)
        return self.containers.get(container) or next(by_name, None)

    def listed(self, labels: Mapping[str, str]) -> list[dict[str, Any]]:
        found = [
            {"Id": key, "Labels": one["Config"]["Labels"], "State": one["State"]["Status"]}
            for key, one in self.containers.items()
        ]
        return [one for one in found if labels.items() <= one["Labels"].items()]

    def create(self, name: str, config: Mapping[str, Any]) -> str:
        with self._call("create"):
            key = f"id{len(self.calls)}"
            state = {"Status": "created", "StartedAt": NEVER, "FinishedAt": NEVER, "ExitCode": 0}
            inspected = {"Labels": config["Labels"], "Image": config["Image"]}
            self.containers[key] = {
                "Id": key, "Name": name, "State": state, "Config": inspected, "HostConfig": {}
            }  # fmt: skip
        return key

    def start(self, container: str) -> None:
        with self._call("start"):
            self.containers[container]["State"] |= {"Status": "running", "StartedAt": THEN}

    def stop(self, container: str, grace_seconds: float) -> None:
        with self._call("stop"):
            self.end(container, 143)

    def kill(self, container: str) -> None:
        with self._call("kill"):
            self.end(container, 137)

    def remove(self, container: str) -> None:
        with self._call("remove"):
            del self.containers[container]

    def image_id(self, reference: str) -> str | None:
        return reference if reference in self.images.values() else self.images.get(reference)

    def end(self, container: str, code: int) -> None:
        self.containers[container]["State"] |= {"Status": "exited", "ExitCode": code, "FinishedAt": THEN}

    @contextmanager
    def pull(self, repository: str, tag: str) -> Iterator[Stream]:
        self.calls.append("pull")
        said = self.pulls.pop(0)
        if isinstance(said, Exception):
            raise said
        yield FakeStream(said)

    def events(self, labels: Mapping[str, str]) -> AbstractContextManager[Stream]:
        raise NotImplementedError("FakeWatch stands for it")

    def remembers(self, container: str, moment: int) -> bool:
        self.calls.append("remembers")
        return self.lives == "life" and self.stories[container].ended == moment

    def out_of_memory(self, container: str) -> bool:
        self.calls.append("out of memory")
        return self.memory_ran_out

    @contextmanager
    def output(self, container: str) -> Iterator[Stream]:
        if container not in self.containers:
            raise NotThere("no such container", 404)
        if self.refuses_logs:
            raise self.refuses_logs
        yield FakeStream(self.frames, self.woken)

    @contextmanager
    def _call(self, name: str) -> Iterator[None]:
        self.calls.append(name)
        if self.before.get(name):
            raise self.before[name].pop(0)
        yield
        if self.after.get(name):
            raise self.after[name].pop(0)


class CountingEngine(FakeEngine):
    """Also notes what is asked without changing anything."""

    def life(self) -> str:
        self.calls.append("life")
        return super().life()

    def inspect(self, container: str) -> dict[str, Any] | None:
        self.calls.append("inspect")
        return super().inspect(container)

    @contextmanager
    def output(self, container: str) -> Iterator[Stream]:
        self.calls.append("output")
        with super().output(container) as stream:
            yield stream


class FakeStream:
    def __init__(self, pieces: list[bytes], then: Callable[[], None] = lambda: None) -> None:
        self._pieces, self._then = pieces, then

    def chunks(self) -> Iterator[bytes]:
        yield from self._pieces
        self._then()

    def shutdown(self) -> None: ...


class FakeWatch:
    """Knows the engine's life of when it was first asked. Whoever waits for its bell is ``woken`` at once."""

    def __init__(self, engine: FakeEngine) -> None:
        self._engine, self._known = engine, ""

    def life(self) -> str:
        self._known = self._known or self._engine.life()
        return self._known

    def story(self, container: str, seconds: float = 0) -> Story | None:
        return self._engine.stories.get(container)

    def renew(self) -> None:
        self._known = ""
        self._engine.stories.clear()

    @contextmanager
    def expecting(self, container: str) -> Iterator[Bell]:
        yield FakeBell(self._engine)


class FakeBell:
    def __init__(self, engine: FakeEngine) -> None:
        self._engine = engine

    def wait(self, timeout: float) -> bool:
        self._engine.woken()
        return not self._engine.deaf

    def set(self) -> None: ...


def runner_over(engine: FakeEngine, survival_seconds: float = 30) -> ContainerRunner:
    images, watch = Images(engine, "always", (0, 0)), FakeWatch(engine)
    return ContainerRunner(engine, "w", lambda folder: folder, images, Limits(), survival_seconds, watch)


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def runner(engine: FakeEngine) -> ContainerRunner:
    return runner_over(engine)


@pytest.fixture
def stop() -> StopSignal:
    return StopSignal()


@pytest.fixture
def job() -> Job:
    raw = {
        "app": {"cmd": ["true"]},
        "handler": {"image_url": "img"},
        "meta": {"job_id": 1, "date_created": "x"},
        "hardware": {},
    }
    return Job(key=1, worker="w", spec=JobSpec.parse("1", raw)).with_facts(image_id="sha256:1")


HERE = Path("/folder")
BEGUN, ENDED = Story(10_000_000_000), Story(10_000_000_000, 12_500_000_000, 0)


def test_an_ordinary_job_asks_little(job: Job, stop: StopSignal) -> None:
    """The engine's life is asked for once while its events are heard, and about the end that they tell."""
    engine = CountingEngine()
    runner = runner_over(engine)
    run = runner.start(job, runner.create(job, HERE, stop), stop)
    engine.stories[run.id] = BEGUN
    engine.woken = lambda: engine.stories.update({run.id: ENDED})

    assert runner.wait(job, run, stop) == Exit(code=0, started_at=10.0, finished_at=12.5)
    assert list(runner.logs(run, stop)) == [b"hi"]
    assert engine.calls == ["life", "create", "start", "remembers", "output"]


@pytest.mark.row(40)
def test_an_end_that_events_told_is_not_believed_across_a_restart(
    engine: FakeEngine, runner: ContainerRunner, job: Job, stop: StopSignal
) -> None:
    """An engine that stops may let a job end with 0; the question after it finds one that remembers none of
    that."""
    run = runner.start(job, runner.create(job, HERE, stop), stop)
    engine.stories[run.id] = BEGUN

    def stops() -> None:
        engine.stories[run.id] = ENDED
        engine.end(run.id, 0)
        engine.lives = "another"

    engine.woken = stops
    with pytest.raises(RunLost, match="interrupted"):
        runner.wait(job, run, stop)


@pytest.mark.row(40)
def test_events_of_another_life_than_the_runs_prove_nothing(job: Job, stop: StopSignal) -> None:
    """They are told in the engine's present life, and the container belongs to an earlier one: it is looked
    at."""
    engine = CountingEngine()
    runner = runner_over(engine)
    run = runner.start(job, runner.create(job, HERE, stop), stop)
    engine.stories[run.id] = ENDED
    engine.end(run.id, 0)

    with pytest.raises(RunLost, match="interrupted"):
        runner.wait(job, run.model_copy(update={"epoch": "earlier"}), stop)
    assert "inspect" in engine.calls


@pytest.mark.row(20)
@pytest.mark.parametrize(
    "story", [None, Story(10_000_000_000, 12_500_000_000, 3)], ids=["spoilt", "another code"]
)
def test_any_other_end_is_looked_at(job: Job, stop: StopSignal, story: Story | None) -> None:
    """Only of a job that went well is the word of events enough."""
    engine = CountingEngine()
    runner = runner_over(engine)
    run = runner.start(job, runner.create(job, HERE, stop), stop)
    engine.end(run.id, 3)
    if story:
        engine.stories[run.id] = story

    assert runner.wait(job, run, stop).code == 3
    assert engine.calls.count("inspect") == 1


def test_a_stream_that_told_no_end_is_deaf(
    engine: FakeEngine, runner: ContainerRunner, job: Job, stop: StopSignal
) -> None:
    """After a while the container is looked at, whatever was told; the stream is not relied on any more."""
    run = runner.start(job, runner.create(job, HERE, stop), stop)
    engine.stories[run.id] = BEGUN
    engine.deaf = True
    engine.woken = lambda: engine.end(run.id, 0)

    assert runner.wait(job, run, stop).ok
    assert engine.stories == {}


@pytest.mark.row(14)
def test_a_container_that_is_there_already_is_adopted(
    engine: FakeEngine, runner: ContainerRunner, job: Job, stop: StopSignal
) -> None:
    """Whatever the engine's refusal of a second one is called."""
    made = runner.create(job, HERE, stop)
    for refusal in (Conflict("in use", 409), Refused("name is in use", 500)):
        engine.before["create"] = [refusal]

        assert runner.create(job, HERE, stop) == made


@pytest.mark.row(17)
def test_what_was_made_before_a_pause_is_looked_at_before_it_is_started(
    engine: FakeEngine, runner: ContainerRunner, job: Job, stop: StopSignal
) -> None:
    """Only right after its creation is it known that nobody can have started it."""
    run = runner.create(job, HERE, stop)
    engine.start(run.id)
    engine.end(run.id, 0)

    again = runner.create(job.with_facts(run=run), HERE, stop)

    assert runner.start(job, again, stop) == run
    assert engine.calls == ["create", "start"]


@pytest.mark.row(15)
@pytest.mark.parametrize("answer", [Unanswered("time-out"), Conflict("in use", 409)], ids=str)
def test_a_create_without_an_answer_is_looked_for(
    engine: FakeEngine, runner: ContainerRunner, job: Job, stop: StopSignal, answer: Exception
) -> None:
    """A time-out or a conflict means that the container may be there: it is found, not made twice."""
    engine.after["create"] = [answer]

    run = runner.create(job, HERE, stop)

    assert list(engine.containers) == [run.id]
    assert engine.calls == ["create"]


@pytest.mark.row(15)
def test_a_create_that_never_happened_is_tried_later(
    engine: FakeEngine, runner: ContainerRunner, job: Job
) -> None:
    """As long as the engine says nothing nobody is failed, and a stop is obeyed meanwhile."""
    engine.before["create"] = [Unanswered("time-out")]
    stop = StopSignal()
    engine_inspect = engine.inspect

    def looked(container: str) -> dict[str, Any] | None:
        if engine.calls:
            stop.set("shutdown")
        return engine_inspect(container)

    engine.inspect = looked  # type: ignore[method-assign] # counts the looks

    with pytest.raises(Paused):
        runner.create(job, HERE, stop)
    assert engine.containers == {}


@pytest.mark.row(18)
def test_a_start_without_an_answer_that_happened_is_believed(
    engine: FakeEngine, runner: ContainerRunner, job: Job, stop: StopSignal
) -> None:
    """The engine started it although it did not say so."""
    run = runner.create(job, HERE, stop)
    engine.after["start"] = [Unanswered("time-out")]

    assert runner.start(job, run, stop) == run
    assert engine.calls == ["create", "start"]


@pytest.mark.row(18)
def test_a_start_that_may_come_late_hits_a_dead_id(
    engine: FakeEngine, runner: ContainerRunner, job: Job, stop: StopSignal
) -> None:
    """Still not started: removed, and run again under another name."""
    run = runner.create(job, HERE, stop)
    engine.before["start"] = [Unanswered("time-out")]

    with pytest.raises(RunLost):
        runner.start(job, run, stop)
    assert engine.containers == {}


def test_a_refused_start_fails_with_the_reason(
    engine: FakeEngine, runner: ContainerRunner, job: Job, stop: StopSignal
) -> None:
    """The owner reads the engine's reason."""
    run = runner.create(job, HERE, stop)
    engine.before["start"] = [Refused('exec: "/bin/sh": no such file', 400)]

    with pytest.raises(JobFailed, match="cannot be started: exec"):
        runner.start(job, run, stop)


@pytest.mark.row(18)
def test_a_start_that_an_earlier_life_of_the_engine_has_made_is_given_up(
    engine: FakeEngine, runner: ContainerRunner, job: Job, stop: StopSignal
) -> None:
    """The engine does not know that it started the container, and finds its task there: a lost run."""
    run = runner.create(job, HERE, stop)
    engine.before["start"] = [Refused("task 3ee1: already exists", 500)]

    with pytest.raises(RunLost, match="did not say whether"):
        runner.start(job, run, stop)
    assert runner.owned() == []


def test_the_log_of_a_container_that_is_being_removed_is_empty(
    engine: FakeEngine, runner: ContainerRunner, job: Job, stop: StopSignal
) -> None:
    """The engine refuses it with a conflict; that is no bug of the job."""
    run = runner.create(job, HERE, stop)
    engine.frames = []
    engine.refuses_logs = Conflict("can not get logs from container which is dead", 409)

    assert list(runner.logs(run, stop)) == []


@pytest.mark.row(18)
def test_an_engine_that_dies_while_it_starts_a_container_is_not_asked_to_start_it_again(
    engine: FakeEngine, runner: ContainerRunner, job: Job, stop: StopSignal
) -> None:
    """It may have started it without having noted so. The run is given up, not started twice."""
    run = runner.create(job, HERE, stop)
    engine.before["start"] = [Unanswered("broke off")]
    engine.away = 1
    with pytest.raises(Paused, match="is away"):
        runner.start(job, run, stop)

    with pytest.raises(RunLost, match="did not say whether"):
        runner.start(job, run, stop)
    assert engine.calls.count("start") == 1
    assert runner.owned() == []


@pytest.mark.row(18)
def test_a_container_made_before_the_engine_restarted_is_not_started_by_another_worker(
    engine: FakeEngine, runner: ContainerRunner, job: Job, stop: StopSignal
) -> None:
    """Worker and engine may both have died in the middle of its start, which nobody has noted."""
    run = runner.create(job, HERE, stop)
    engine.lives = "next life"
    next_worker = runner_over(engine)
    started = job.with_facts(run=run)

    with pytest.raises(RunLost, match="did not say whether"):
        next_worker.start(started, next_worker.create(started, HERE, stop), stop)
    assert engine.calls.count("start") == 0
    assert next_worker.owned() == []


@pytest.mark.row(17)
def test_a_start_refused_before_a_crash_fails_the_same(
    engine: FakeEngine, runner: ContainerRunner, job: Job, stop: StopSignal
) -> None:
    """A container that is created and has an error is not tried again."""
    run = runner.create(job, HERE, stop)
    engine.containers[run.id]["State"] |= {"Error": "no such file", "ExitCode": 127}

    with pytest.raises(JobFailed, match="no such file"):
        runner_over(engine).start(job, run, stop)
    assert engine.calls == ["create"]


@pytest.mark.row(17)
def test_an_exit_between_start_and_its_note_is_collected(
    engine: FakeEngine, runner: ContainerRunner, job: Job, stop: StopSignal
) -> None:
    """A job of ten milliseconds that ended before its start was noted keeps its code."""
    created = runner.create(job, HERE, stop)
    engine.start(created.id)
    engine.end(created.id, 4)
    again = runner_over(engine)

    run = again.start(job, again.create(job.with_facts(run=created), HERE, stop), stop)

    assert again.wait(job, run, stop).code == 4
    assert engine.calls == ["create", "start"]


@pytest.mark.row(20)
@pytest.mark.parametrize(
    ("code", "ran_out", "asked", "reason"),
    [
        (137, True, 1, "killed: out of memory (no limit set: the machine ran out)"),
        (137, False, 1, ""),
        (1, True, 0, ""),
    ],
)
def test_late_news_that_memory_ran_out_is_heard(
    engine: FakeEngine, runner: ContainerRunner, job: Job, stop: StopSignal,
    code: int, ran_out: bool, asked: int, reason: str,
) -> None:  # fmt: skip
    """The engine's own mark is missing where the news came after the exit; no other exit is asked about."""
    run = runner.start(job, runner.create(job, HERE, stop), stop)
    engine.memory_ran_out = ran_out
    engine.end(run.id, code)

    assert runner.wait(job, run, stop).reason == reason
    assert engine.calls.count("out of memory") == asked


@pytest.mark.row(41)
def test_a_run_seen_alive_after_a_restart_is_believed(
    engine: FakeEngine, runner: ContainerRunner, job: Job, stop: StopSignal
) -> None:
    """A container that is alive for long enough after the engine's restart has outlived it."""
    run = runner.start(job, runner.create(job, HERE, stop), stop)
    engine.lives = "another"
    engine.woken = lambda: engine.end(run.id, 0)

    assert runner_over(engine, survival_seconds=0).wait(job, run, stop).ok


@pytest.mark.row(40)
def test_a_run_that_the_engine_ends_right_after_its_restart_is_lost(
    engine: FakeEngine, runner: ContainerRunner, job: Job, stop: StopSignal
) -> None:
    """Just restarted, an engine lists as running what it is about to end: such an exit is not believed."""
    run = runner.start(job, runner.create(job, HERE, stop), stop)
    engine.lives = "another"
    again = runner.start(job, run, stop)
    engine.woken = lambda: engine.end(run.id, 0)

    with pytest.raises(RunLost, match="interrupted"):
        runner.wait(job, again, stop)


@pytest.mark.row(40)
def test_an_exit_while_the_engine_restarted_is_lost(
    engine: FakeEngine, runner: ContainerRunner, job: Job, stop: StopSignal
) -> None:
    """Code 0 across a restart is an interruption."""
    run = runner.start(job, runner.create(job, HERE, stop), stop)

    def crash() -> None:
        engine.lives = "another"
        engine.end(run.id, 0)

    engine.woken = crash
    with pytest.raises(RunLost, match="interrupted"):
        runner.wait(job, run, stop)


@pytest.mark.row(21)
@pytest.mark.parametrize("status", ["dead", "removing"])
def test_a_container_on_its_way_out_is_lost(
    engine: FakeEngine, runner: ContainerRunner, job: Job, stop: StopSignal, status: str
) -> None:
    """Neither an exception nor a spin: it counts as removed."""
    run = runner.start(job, runner.create(job, HERE, stop), stop)
    engine.containers[run.id]["State"]["Status"] = status

    with pytest.raises(RunLost, match="removed"):
        runner.wait(job, run, stop)


def test_a_broken_log_stream_pauses(
    engine: FakeEngine, runner: ContainerRunner, job: Job, stop: StopSignal
) -> None:
    """What broke off is not the whole log."""
    run = runner.start(job, runner.create(job, HERE, stop), stop)

    def breaks() -> None:
        raise StreamBroken("broke")

    engine.woken = breaks
    with pytest.raises(Paused, match="broke off"):
        list(runner.logs(run, stop))


@pytest.mark.row(64)
def test_a_stop_without_an_answer_kills(
    engine: FakeEngine, runner: ContainerRunner, job: Job, stop: StopSignal
) -> None:
    """After TERM and grace comes KILL, also when the engine did not say what became of TERM."""
    run = runner.start(job, runner.create(job, HERE, stop), stop)
    engine.before["stop"] = [Unanswered("time-out")]

    runner.stop(run.name, 3)

    assert engine.calls[-2:] == ["stop", "kill"]


def test_what_has_ended_is_not_stopped(
    engine: FakeEngine, runner: ContainerRunner, job: Job, stop: StopSignal
) -> None:
    """Its list tells the engine's clients so: nothing else is asked."""
    run = runner.start(job, runner.create(job, HERE, stop), stop)
    engine.end(run.id, 0)

    runner.stop(run.name, 3)

    assert engine.calls == ["create", "start"]


@pytest.mark.row(32)
def test_a_removal_under_way_is_waited_for(
    engine: FakeEngine, runner: ContainerRunner, job: Job, stop: StopSignal
) -> None:
    """409 "removal in progress" is success that is still to come."""
    run = runner.create(job, HERE, stop)
    engine.after["remove"] = [Conflict("removal of container is already in progress", 409)]

    runner.remove(run.name)

    assert runner.owned() == []


@pytest.mark.row(11)
def test_a_pull_is_tried_again_while_that_may_help(
    engine: FakeEngine, runner: ContainerRunner, job: Job, stop: StopSignal
) -> None:
    """Time-outs, too many requests and broken connections pass; the job waits for them."""
    engine.images = {}
    engine.pulls = [
        Refused("toomanyrequests: slow down", 500),
        StreamBroken("broke off"),
        [b'{"status": "Pulling"}\r\n{"sta', b'tus": "Status: Image is up to date"}\r\n'],
    ]

    with pytest.raises(JobFailed, match="gone right after the pull"):
        runner.prepare(job.spec, stop)
    assert engine.calls == ["pull"] * 3


@pytest.mark.row(11)
def test_with_an_image_at_hand_no_job_waits_for_the_registry(
    engine: FakeEngine, runner: ContainerRunner, job: Job, stop: StopSignal
) -> None:
    """A pull that fails for a passing reason is not repeated where the image is present."""
    engine.pulls = [Refused("toomanyrequests: slow down", 500)]

    assert runner.prepare(job.spec, stop) == "sha256:1"
    assert engine.calls == ["pull"]


@pytest.mark.row(11)
def test_an_error_in_the_stream_is_seen(
    engine: FakeEngine, runner: ContainerRunner, job: Job, stop: StopSignal
) -> None:
    """The engine answers 200 and then says that the pull failed; the job hears the registry's reason."""
    engine.images = {}
    engine.pulls = [[b'{"errorDetail": {"message": "manifest unknown"}, "error": "x"}\r\n']]

    with pytest.raises(JobFailed, match="The image 'img' cannot be pulled: manifest unknown"):
        runner.prepare(job.spec, stop)


@pytest.mark.row(10)
def test_a_failed_pull_names_the_image_it_falls_back_to(
    engine: FakeEngine, runner: ContainerRunner, job: Job, stop: StopSignal, caplog: pytest.LogCaptureFixture
) -> None:
    """An old image is used with a warning, never silently."""
    engine.pulls = [Refused("unauthorized", 500)]

    assert runner.prepare(job.spec, stop) == "sha256:1"
    assert [record.getMessage() for record in caplog.records] == ["pull.failed"]


@pytest.mark.row(12)
def test_an_image_gone_before_the_create_is_pulled_again(
    engine: FakeEngine, runner: ContainerRunner, job: Job, stop: StopSignal
) -> None:
    """One more pull, and the container runs by the id of what came."""
    engine.images = {"img:latest": "sha256:2"}
    engine.pulls = [[b'{"status": "Status: Downloaded"}\n']]
    engine.before["create"] = [NotThere("No such image: sha256:1", 404)]

    run = runner.create(job, HERE, stop)

    assert engine.containers[run.id]["Config"]["Image"] == "sha256:2"


def test_a_missing_network_is_the_jobs_end(
    engine: FakeEngine, runner: ContainerRunner, job: Job, stop: StopSignal
) -> None:
    """404 for something else than the image is no reason to pull."""
    engine.before["create"] = [NotThere("network mynet not found", 404)]

    with pytest.raises(JobFailed, match="network mynet not found"):
        runner.create(job, HERE, stop)
    assert engine.calls == ["create"]


def test_a_known_run_is_found_by_its_id(
    engine: FakeEngine, runner: ContainerRunner, job: Job, stop: StopSignal
) -> None:
    """A job that knows its container gets it back as it was noted, or learns that it is lost."""
    run = Run(name=job.run_name, id="id9", epoch="noted")

    with pytest.raises(RunLost):
        runner.create(job.with_facts(run=run), HERE, stop)
    engine.containers["id9"] = {"Id": "id9", "Name": "renamed"}
    assert runner.create(job.with_facts(run=run), HERE, stop) == run
