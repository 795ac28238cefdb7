"""The loop: every way a step can end, and a crash at every moment of a life."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from states.advance import advance, fail
from states.errors import JobFailed, JobGone, Paused, StaleJob
from states.job import Job, JobState, Run, Trigger
from states.ports import Stop
from states.table import MAX_ATTEMPTS, MAX_RERUNS
from tests.crash_injection import CrashPoints, SimulatedCrash
from tests.fake_store import FakeStore
from tests.fake_tools import Calls, FakeEngine, FakeLease, FakeRunner, FakeStop, FakeTools, a_spec
from tests.stories import MANY, STORIES, Story

Move = tuple[JobState, JobState, Trigger]

HAPPY: list[Move] = [
    (JobState.FETCHED, JobState.DOWNLOADING, Trigger.ACCEPTED),
    (JobState.DOWNLOADING, JobState.RUNNING, Trigger.DOWNLOADED),
    (JobState.RUNNING, JobState.UPLOADING, Trigger.EXITED),
    (JobState.UPLOADING, JobState.FINISHED, Trigger.UPLOADED),
]
CALLS_OF = {
    JobState.FETCHED: ["workspace.admit", "workspace.prepare"],
    JobState.DOWNLOADING: ["transfers.download", "runner.prepare"],
    JobState.RUNNING: ["lease.confirm", "runner.create", "runner.start", "runner.wait"],
    JobState.UPLOADING: ["runner.logs", "transfers.upload"],
}
PLACES = [(state, call) for state, calls in CALLS_OF.items() for call in calls]


@dataclass
class World:
    """What outlives the worker, and one job in it."""

    engine: FakeEngine = field(default_factory=FakeEngine)
    store: FakeStore = field(default_factory=FakeStore)

    def __post_init__(self) -> None:
        self.key = self.store.add(a_spec()).key

    @property
    def job(self) -> Job:
        return self.store.get(self.key)

    @property
    def moves(self) -> list[Move]:
        return [(source, target, why) for _, source, target, why in self.store.moves if source and why]

    def live(
        self, planned: dict[str, Sequence[Exception]] | None = None, points: CrashPoints | None = None
    ) -> FakeTools:
        """One life of the worker: from what the store says, as far as it goes. Returns its tools."""
        points = points or CrashPoints()
        store = points.watched(self.store, "store")
        tools = FakeTools(store, self.engine, Calls(planned)).watched(points)
        advance(self.job, store, tools)
        return tools


# ------------------------------------------------------------------ the ways of one life


def test_a_job_that_goes_well() -> None:
    """Four moves to ``finished``, each call once and in this order, one start, nothing to tell."""
    world = World()
    log = world.live().calls.log

    assert world.moves == HAPPY
    assert log == [
        "workspace.admit",
        "workspace.prepare",
        "workspace.prepare",
        "transfers.download",
        "runner.prepare",
        "lease.confirm",
        "runner.create",
        "runner.start",
        "runner.wait",
        "lease.confirm",
        "runner.logs",
        "transfers.upload",
    ]
    assert world.engine.starts == [world.job.run_name]
    assert world.job.facts.model_dump(exclude={"run"}, exclude_defaults=True) == {
        "image_id": "sha256:1",
        "gpus": ("GPU-1",),
        "exit": {"code": 0},
    }


def test_a_command_that_fails_has_its_outputs_uploaded() -> None:
    """Another exit code ends in ``error`` after the upload, with the code and the log's last lines."""
    world = World(FakeEngine(exit_code=3))
    log = world.live().calls.log

    assert world.moves == [*HAPPY[:3], (JobState.UPLOADING, JobState.ERROR, Trigger.UPLOADED)]
    assert log[-1] == "transfers.upload"
    assert world.job.facts.detail == (
        "The job's command ended with exit code 3.\nThe last lines of its log:\nsaid something"
    )


@pytest.mark.parametrize(("state", "call"), PLACES)
def test_a_job_that_cannot_succeed(state: JobState, call: str) -> None:
    """JobFailed at any call ends the job in ``error`` at once; its sentence is for the owner."""
    world = World()
    world.live({call: [JobFailed("No such image.")]})

    assert world.moves[-1] == (state, JobState.ERROR, Trigger.FAILED)
    assert world.job.facts.detail == "No such image."


@pytest.mark.parametrize(("state", "call"), PLACES)
def test_a_job_that_is_no_longer_ours(state: JobState, call: str) -> None:
    """JobGone at any call ends the job in ``cancelled`` at once; nothing more is called for it."""
    world = World()
    log = world.live({call: [JobGone()]}).calls.log

    assert world.moves[-1] == (state, JobState.CANCELLED, Trigger.GONE)
    assert log[-1] == call


def test_a_job_known_to_be_gone_is_not_touched() -> None:
    """The stored flag ends the job before any step: a restart downloads and runs nothing for it."""
    world = World()
    world.store.mark_gone(world.key)
    log = world.live().calls.log

    assert world.moves == [(JobState.FETCHED, JobState.CANCELLED, Trigger.GONE)]
    assert log == []


@pytest.mark.parametrize(("state", "call"), PLACES)
def test_a_pause_costs_nothing_and_goes_on_where_it_was(state: JobState, call: str) -> None:
    """However often a step pauses, no attempt is lost; then the history is that of an undisturbed job."""
    world = World()
    for _ in range(MAX_ATTEMPTS + 1):
        with pytest.raises(Paused):
            world.live({call: [Paused("The engine is away.")]})
        assert (world.job.state, world.job.attempts) == (state, 0)
    world.live()

    assert world.moves == HAPPY
    assert len(world.engine.starts) == 1


def test_a_pause_gives_back_its_own_attempt_only() -> None:
    """A bug counted before is still counted after a pause, also one that comes while the step waits."""
    world = World()
    for call in ("runner.create", "runner.wait"):
        with pytest.raises(Paused):
            world.live({call: [ValueError("a bug"), Paused("Told to stop.")]})

    assert (world.job.state, world.job.attempts) == (JobState.RUNNING, 2)


@pytest.mark.parametrize(("state", "call"), PLACES)
def test_a_bug_does_not_end_a_job_at_once(state: JobState, call: str) -> None:
    """After fewer than MAX_ATTEMPTS bugs the job goes on as if nothing had been."""
    world = World()
    tools = world.live({call: [KeyError(f"in {state}")] * (MAX_ATTEMPTS - 1)})

    assert world.moves == HAPPY
    assert tools.bugs == [repr(f"in {state}")] * (MAX_ATTEMPTS - 1)


@pytest.mark.parametrize(("state", "call"), PLACES)
def test_a_bug_that_stays_fails_the_job(state: JobState, call: str) -> None:
    """After MAX_ATTEMPTS in one state the job ends in ``error`` and its owner reads the last bug."""
    world = World()
    tools = world.live({call: [ValueError(f"bug {number}") for number in range(MANY)]})

    assert len(tools.bugs) == MAX_ATTEMPTS
    assert world.moves[-1] == (state, JobState.ERROR, Trigger.FAILED)
    assert world.job.facts.detail == (
        f"Gave up after {MAX_ATTEMPTS} attempts in the state {state}. "
        f"The last error was: ValueError: bug {MAX_ATTEMPTS - 1}"
    )


def test_attempts_are_counted_for_each_state_alone() -> None:
    """A few bugs in every state do not add up."""
    world = World()
    calls = ("workspace.admit", "transfers.download", "runner.create", "transfers.upload")
    world.live({call: [ValueError("a bug")] * (MAX_ATTEMPTS - 1) for call in calls})

    assert world.moves == HAPPY


@pytest.mark.parametrize("lost", range(MAX_RERUNS + 2))
def test_a_lost_run_is_made_again_from_clean_inputs(lost: int) -> None:
    """Each lost run is run again under a new name, MAX_RERUNS times; then the owner reads what happened."""
    world = World(FakeEngine(loses=frozenset(range(1, lost + 1))))
    log = world.live().calls.log
    runs = min(lost, MAX_RERUNS) + 1

    assert [name.rpartition("-")[2] for name in world.engine.starts] == [str(n + 1) for n in range(runs)]
    assert log.count("transfers.download") == runs
    assert (world.job.state, world.job.facts.detail) == (
        (JobState.FINISHED, "") if lost <= MAX_RERUNS else (JobState.ERROR, "The container vanished.")
    )


def test_the_lease_comes_before_the_container() -> None:
    """No container is made before the API has acknowledged the job, and none is uploaded from."""
    world = World()
    log = world.live({"lease.confirm": [JobGone()]}).calls.log

    assert "runner.create" not in log
    assert world.engine.starts == []


def test_a_container_is_known_to_the_store_before_it_starts() -> None:
    """Were the process to die at the start, the next one would find the container's id."""
    world, seen = World(), list[Run | None]()

    class Watching(FakeRunner):
        def start(self, job: Job, run: Run, stop: Stop) -> Run:
            seen.append(world.job.facts.run)
            return super().start(job, run, stop)

    tools = FakeTools(world.store)
    tools.runner = Watching(Calls(), world.engine)
    advance(world.job, world.store, tools)

    assert seen == [Run(name=world.job.run_name, id=f"id of {world.job.run_name}")]


def test_the_folder_is_the_runs_own() -> None:
    """A rerun works in a folder that the lost run never saw."""
    world = World(FakeEngine(loses=frozenset({1})))
    folders: list[Path] = []

    class Watching(FakeRunner):
        def create(self, job: Job, folder: Path, stop: Stop) -> Run:
            folders.append(folder)
            return super().create(job, folder, stop)

    tools = FakeTools(world.store)
    tools.runner = Watching(Calls(), world.engine)
    advance(world.job, world.store, tools)

    assert len(set(folders)) == len(folders) == 2


def test_what_was_noted_survives_a_failure() -> None:
    """The container of a job that fails at its start is remembered, so that it can be removed."""
    world = World()
    world.live({"runner.start": [JobFailed("The command does not exist.")]})

    assert world.job.facts.run == Run(name=world.job.run_name, id=f"id of {world.job.run_name}")


def test_a_job_that_somebody_else_moved_is_left_alone() -> None:
    """A stale job is not written over: the loop stops with StaleJob."""
    world = World()
    stale = world.job
    world.live()

    with pytest.raises(StaleJob):
        advance(stale, world.store, FakeTools(world.store, world.engine))
    assert world.moves == HAPPY


class Watching(FakeStore):
    """Tells its writes about a job that is on its way, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[str] = []

    def _write(self, job: Job, **changes: object) -> Job:
        after = super()._write(job, **changes)
        what = "" if "state" in changes else "".join(f" +{name}" for name in changes if name != "attempts")
        self.written.append(f"{after.state} {after.attempts}{what}")
        return after


def test_each_write_of_a_job_that_goes_well() -> None:
    """A move begins the next try along with it, unless the API must have a say before that one."""
    world = World()
    store = Watching()
    world.store, world.key = store, store.add(a_spec()).key
    world.live()

    assert store.written == [
        "fetched 1",
        "downloading 1",
        "running 0",
        "running 1",  # after the API's word
        "running 0 +facts",  # the container's id, before it is started
        "running 0 +facts",  # its epoch turned out to be another one
        "uploading 1",
        "finished 0",
    ]


def test_a_try_that_was_begun_with_the_move_counts() -> None:
    """A death right after the move is one try, and each later life begins one more."""
    world = World()
    for attempts in range(1, MAX_ATTEMPTS + 1):
        with pytest.raises(SimulatedCrash):
            die_at(world, "before transfers.download")
        assert (world.job.state, world.job.attempts) == (JobState.DOWNLOADING, attempts)
    world.live()

    assert world.job.state is JobState.ERROR


def test_a_try_that_was_begun_with_the_move_is_given_back() -> None:
    """Told to stop right after a move, the job stays in its new state without a try on record."""
    world = World()
    tools = FakeTools(world.store, world.engine)

    class Stopped(FakeLease):
        def confirmed(self, job: Job) -> bool:
            tools.stop = FakeStop(Paused("Stopping."))
            return True

    tools.lease = Stopped(Calls())
    world.store.jobs[world.key] = world.job.model_copy(update={"state": JobState.DOWNLOADING})
    with pytest.raises(Paused):
        advance(world.job, world.store, tools)

    assert (world.job.state, world.job.attempts) == (JobState.RUNNING, 0)


def test_deaths_at_the_start_of_a_container_come_to_an_end() -> None:
    """The first start of a new container is no try; each later one is."""
    world = World()
    deaths = 0
    while world.job.state is not JobState.ERROR:
        with suppress(SimulatedCrash):
            die_at(world, "before runner.start")
            continue
        deaths += 1

    assert deaths == MAX_ATTEMPTS + 1


def test_deaths_while_waiting_for_the_api_are_not_held_against_the_job() -> None:
    """However often the worker dies there, no attempt is on record."""
    world = World()
    for _ in range(3 * MAX_ATTEMPTS):
        with pytest.raises(SimulatedCrash):
            die_at(world, "after lease.confirm")
        assert (world.job.state, world.job.attempts) == (JobState.RUNNING, 0)
    world.live()

    assert world.moves == HAPPY


@pytest.mark.parametrize(
    "state", [JobState.FETCHED, JobState.DOWNLOADING, JobState.RUNNING, JobState.UPLOADING]
)
def test_a_job_that_is_stopped_begins_no_step(state: JobState) -> None:
    """Cancelled, it fails with that sentence; stopped, it stays. Neither is an attempt or calls anything."""
    for error, expected in [(JobFailed("Cancelled."), JobState.ERROR), (Paused("Stopping."), state)]:
        world = World()
        world.store.jobs[world.key] = world.job.model_copy(update={"state": state})
        tools = FakeTools(world.store, world.engine)
        tools.stop = FakeStop(error)
        with suppress(Paused):
            advance(world.job, world.store, tools)

        assert (world.job.state, world.job.attempts, tools.calls.log) == (expected, 0, [])


def test_failing_from_outside_is_a_move_like_any_other() -> None:
    """A live job that nobody works for ends in ``error`` with the sentence; the API is told."""
    world = World()
    job = fail(world.job, world.store, "No more.")

    assert (job.state, job.facts.detail) == (JobState.ERROR, "No more.")
    assert world.store.queued[-1].detail == "No more."


def test_an_ended_job_is_returned_as_it_is() -> None:
    """Advancing what has ended does nothing."""
    world = World()
    world.live()
    log = world.live().calls.log

    assert log == []


# ------------------------------------------------------------------ a crash at every moment


def outcome(world: World) -> tuple[list[Move], list[str], object]:
    job = world.job
    return world.moves, world.engine.starts, (job.state, job.run, job.told, job.version, job.facts)


def live_through(story: Story, *crashes: int) -> tuple[World, CrashPoints]:
    """The story, with the worker dying in its first lives at the given points; and its last life's points."""
    world, points = World(story.engine()), CrashPoints()
    for number in crashes:
        with suppress(SimulatedCrash):
            world.live(story.planned(), CrashPoints(number))
    world.live(story.planned(), points)
    return world, points


@pytest.mark.parametrize("story", STORIES.values(), ids=STORIES.keys())
def test_a_crash_anywhere_changes_nothing(story: Story) -> None:
    """Dead before or after any call of a port, then resumed: the same moves, facts and starts."""
    undisturbed, points = live_through(story)
    for number, point in enumerate(points.seen):
        crashed, _ = live_through(story, number)

        assert (point, *outcome(crashed)) == (point, *outcome(undisturbed))


@pytest.mark.parametrize("story", STORIES.values(), ids=STORIES.keys())
def test_each_run_is_started_once(story: Story) -> None:
    """However the process dies, no container's name is started twice."""
    _, points = live_through(story)
    for number in range(len(points.seen)):
        starts = live_through(story, number)[0].engine.starts

        assert sorted(set(starts)) == sorted(starts)


@pytest.mark.parametrize(
    "story", [STORIES["goes well"], STORIES["lost once"]], ids=["goes well", "lost once"]
)
def test_a_crash_during_recovery_changes_nothing(story: Story) -> None:
    """A second crash at every moment of the life after the first: recovering twice is recovering once."""
    undisturbed, points = live_through(story)
    for first in range(0, len(points.seen), 3):
        _, after = live_through(story, first)
        for second in range(len(after.seen)):
            twice, _ = live_through(story, first, second)

            assert (first, second, *outcome(twice)) == (first, second, *outcome(undisturbed))


@pytest.mark.parametrize(
    "state", [JobState.FETCHED, JobState.DOWNLOADING, JobState.RUNNING, JobState.UPLOADING]
)
def test_resuming_from_each_live_state(state: JobState) -> None:
    """A job found in the store in any live state goes the way that a job fetched a second ago goes."""
    commits = [source for source, _, _ in HAPPY].index(state)
    world = World()
    if commits:
        _, points = live_through(Story())
        found = [n for n, point in enumerate(points.seen) if point == "after store.commit"]
        with pytest.raises(SimulatedCrash):
            world.live(points=CrashPoints(found[commits - 1]))
    assert world.job.state == state
    world.live()

    assert world.moves == HAPPY


@pytest.mark.parametrize("call", ["workspace.admit", "runner.prepare", "runner.create", "transfers.upload"])
def test_a_job_that_kills_the_worker_each_time_fails(call: str) -> None:
    """A process that dies in one step again and again gives the job up, and says so."""
    world = World()
    for _ in range(MAX_ATTEMPTS):
        with pytest.raises(SimulatedCrash):
            die_at(world, f"before {call}")
    world.live()

    assert world.job.state == JobState.ERROR
    assert world.job.facts.detail.endswith("The last error was: the worker itself stopped each time")


def test_restarts_while_a_container_runs_are_not_held_against_the_job() -> None:
    """A week of restarts costs a waiting job none of its attempts."""
    world = World()
    for _ in range(3 * MAX_ATTEMPTS):
        with pytest.raises(SimulatedCrash):
            die_at(world, "before runner.wait")
    world.live()

    assert (world.moves, len(world.engine.starts)) == (HAPPY, 1)


def die_at(world: World, point: str) -> None:
    """One life that ends at the first point of that name."""

    class Named(CrashPoints):
        def point(self, name: str) -> None:
            super().point(name)
            if name == point:
                self.dead = True
                raise SimulatedCrash(name)

    world.live(points=Named())
