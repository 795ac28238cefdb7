"""The ledger: never more than the machine, one GPU to one job, whatever happens in which order."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from jobfetcher.hardware import Gpu, Hardware
from jobfetcher.ledger import Ledger
from jobfetcher.shares import Free
from states.errors import Paused
from states.job import Exit, Job, JobState, Run, Share, Trigger
from states.machine import fire
from states.spec import JobSpec
from states.table import LIVE
from tests.fake_store import FakeStore
from tests.properties import calm
from tests.store_life import moved

MACHINE = Hardware(memory=16000, available=15000, cpu_cores=8, gpus=())


class Store(FakeStore):
    """Also tells what has ended. Nothing is ever swept."""

    def unswept(self) -> list[Job]:
        return [job for job in self.jobs.values() if job.state not in LIVE]


def a_spec(number: int, **wanted: Any) -> JobSpec:
    raw = {
        "app": {},
        "handler": {"image_url": "i"},
        "meta": {"job_id": number, "date_created": "today"},
        "hardware": wanted,
    }
    return JobSpec.parse(str(number), raw)


def taken_on(store: Store, number: int = 1, **wanted: Any) -> Job:
    """A job in ``downloading``, which holds nothing yet."""
    return moved(store, store.add(a_spec(number, **wanted)), Trigger.ACCEPTED)


def started(store: Store, job: Job) -> Job:
    """Its container is made."""
    job = moved(store, job, Trigger.DOWNLOADED)
    return store.note(job.with_facts(run=Run(name=job.run_name, id=job.run_name)))


@pytest.fixture
def store() -> Store:
    return Store()


def test_what_a_job_holds_is_on_disk_before_it_is_told(store: Store) -> None:
    """Whoever asks the store, another worker after a crash for one, sees it."""
    job = Ledger(store, lambda: MACHINE, 2).hold(taken_on(store))

    assert store.get(job.key).facts.share == job.facts.share == Share(cpu_cores=4, memory=8000)


def test_holding_twice_is_holding_once(store: Store) -> None:
    """Also for a worker that has just started and knows nothing."""
    first = Ledger(store, lambda: MACHINE, 2).hold(taken_on(store))
    ledger = Ledger(store, lambda: MACHINE, 2)

    assert (ledger.hold(first), ledger.free()) == (first, Free(4, 8000))


def test_a_job_that_ends_gives_back_what_it_held(store: Store) -> None:
    """At once, without a word to the ledger."""
    ledger = Ledger(store, lambda: MACHINE, 2)
    job = ledger.hold(taken_on(store))
    moved(store, job, Trigger.FAILED)

    assert ledger.free() == Free(8, 15000)


def test_a_job_that_uploads_holds_nothing_more(store: Store) -> None:
    """Its container has ended; what it had is offered to the next one."""
    ledger = Ledger(store, lambda: MACHINE, 2)
    job = started(store, ledger.hold(taken_on(store)))
    moved(store, job, Trigger.EXITED, exit=Exit(code=0))

    assert ledger.free() == Free(8, 15000)


@pytest.mark.row(64)
def test_a_container_that_does_not_end_keeps_what_it_has(store: Store) -> None:
    """The job is gone, its container is still there: nothing of it is given away before it is."""
    runs: list[str] = []
    ledger = Ledger(store, lambda: MACHINE, 2, lambda: runs)
    job = started(store, ledger.hold(taken_on(store)))
    runs.append(job.run_name)
    moved(store, job, Trigger.GONE)
    before = ledger.free()
    runs.clear()

    assert (before, ledger.free()) == (Free(4, 8000), Free(8, 15000))


@pytest.mark.row(64)
def test_also_where_there_is_one_place(store: Store) -> None:
    """Neither is another job asked for, nor does one that is there begin, before the machine is free."""
    runs: list[str] = []
    ledger = Ledger(store, lambda: MACHINE, 1, lambda: runs)
    job = started(store, ledger.hold(taken_on(store)))
    runs.append(job.run_name)
    moved(store, job, Trigger.FAILED)
    other = taken_on(store, 2)
    before = ledger.free()
    with pytest.raises(Paused):
        ledger.hold(other)
    runs.clear()

    assert (before, ledger.free(), ledger.hold(other).facts.share) == (None, Free(8, 15000), Share())


def test_a_lost_run_keeps_its_share(store: Store) -> None:
    """It runs again with what it had, also if others came meanwhile."""
    gpu = Gpu("GPU-1", "H100", 80000, "9.0", 80000)
    ledger = Ledger(store, lambda: Hardware(16000, 15000, 8, (gpu,)), 2)
    job = started(store, ledger.hold(taken_on(store)))
    lost = moved(store, job, Trigger.LOST)
    other = ledger.hold(taken_on(store, 2))

    assert (ledger.hold(lost).facts.gpus, other.facts.gpus) == (("GPU-1",), ())


def test_a_job_leaves_its_elders_what_they_have_yet_to_take(store: Store) -> None:
    """However long these take to come to it: the GPU was offered for the first of them."""
    gpus = (Gpu("GPU-1", "A5000", 24000, "8.6", 24000), Gpu("GPU-2", "H100", 80000, "9.0", 80000))
    ledger = Ledger(store, lambda: Hardware(16000, 15000, 8, gpus), 2)
    elder = taken_on(store, 1, gpu_model="H100")
    younger = ledger.hold(taken_on(store, 2))

    assert (younger.facts.gpus, ledger.hold(elder).facts.gpus) == (("GPU-1",), ("GPU-2",))


@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["elder first", "younger first"])
def test_what_is_promised_is_nobody_elses(store: Store, order: tuple[int, int]) -> None:
    """Before it is on disk as well, for jobs and for what is offered, and however often it is promised."""
    machine = Hardware(16000, 15000, 8, GPUS[:2])
    ledger = Ledger(store, lambda: machine, 2)
    jobs = [store.add(a_spec(number)) for number in (1, 2)]
    promised = [ledger.promise(jobs[which]) for which in (*order, *order)]

    assert promised[:2] == promised[2:]
    assert sorted(job.facts.gpus for job in promised[:2]) == [("GPU-0",), ("GPU-1",)]
    assert ledger.free() is None


def test_what_is_promised_is_committed_by_the_move(store: Store) -> None:
    """Then another worker knows it, and holding it is no write."""
    job = store.add(a_spec(1))
    promised = Ledger(store, lambda: MACHINE, 2).promise(job)
    accepted = store.commit(job, fire(promised, Trigger.ACCEPTED), Trigger.ACCEPTED)
    ledger = Ledger(store, lambda: MACHINE, 2)

    assert accepted.facts.share == Share(cpu_cores=4, memory=8000)
    assert (ledger.hold(accepted), ledger.free()) == (accepted, Free(4, 8000))


def test_what_was_promised_to_a_job_that_ended_is_free(store: Store) -> None:
    """It was never on disk."""
    ledger = Ledger(store, lambda: MACHINE, 2)
    ledger.promise(job := store.add(a_spec(1)))
    moved(store, job, Trigger.FAILED)

    assert ledger.free() == Free(8, 15000)


def test_alone_nothing_is_asked(store: Store) -> None:
    """With one place the machine is offered whole, and a job gets it whole."""
    ledger = Ledger(store, lambda: MACHINE, 1, runs=_never)
    job = ledger.hold(taken_on(store))

    assert (job.facts.share, ledger.free()) == (Share(), Free(8, 15000))


def _never() -> list[str]:
    raise AssertionError("the engine was asked")


GPUS = tuple(
    Gpu(f"GPU-{number}", model, memory, archi, memory - 100 * number)
    for number, (model, memory, archi) in enumerate(
        [("A5000", 24000, "8.6"), ("A5000", 24000, "8.6"), ("H100", 80000, "9.0"), ("H100", 20000, "9.0")]
    )
)
WANTED = st.fixed_dictionaries(
    {},
    optional={
        "cpu_cores": st.integers(0, 20),
        "memory": st.integers(0, 40000),
        "gpu_model": st.sampled_from(["A5000", "H100", "other"]),
        "gpu_archi": st.sampled_from(["8.6", "9.0"]),
        "gpu_mem": st.integers(0, 90000),
    },
)


class Sharing(RuleBasedStateMachine):
    """Jobs come, take their part, get containers, are lost, end; GPUs vanish and return; workers restart."""

    def __init__(self) -> None:
        super().__init__()
        self.store = Store()
        self.count = 0
        self.steady = True
        """The machine has always been as it is now."""
        self.fitted: set[int] = set()
        """Keys of the jobs that fitted what was offered."""

    @initialize(cores=st.integers(1, 16), memory=st.integers(1000, 64000), places=st.integers(2, 6))
    def begin(self, cores: int, memory: int, places: int) -> None:
        self.machine = Hardware(memory, memory, cores, GPUS)
        self.places = places
        self.restart()

    @rule()
    def restart(self) -> None:
        """Another worker, which has nothing but the database."""
        self.promised: dict[int, Job] = {}
        self.ledger = Ledger(self.store, lambda: self.machine, self.places)

    @rule(wanted=WANTED)
    def fetch(self, wanted: dict[str, Any]) -> None:
        """A job comes if there is a place and it fits what is offered, as the API would have it."""
        free = self.ledger.free()
        if len(self.store.live()) < self.places and free is not None and _fits(free, wanted):
            self.count += 1
            self.fitted.add(self.store.add(a_spec(self.count, **wanted)).key)

    @rule(which=st.integers(0, 9))
    def promise(self, which: int) -> None:
        """A job is accepted. That may be committed before others come, or after."""
        for job in self._any(which, JobState.FETCHED):
            try:
                self.promised[job.key] = self.ledger.promise(job)
            except Paused:
                self.promised.pop(job.key, None)
                assert not (self.steady and job.key in self.fitted)

    @rule(which=st.integers(0, 9))
    def keep_promise(self, which: int) -> None:
        for job in self._any(which, JobState.FETCHED):
            if (promised := self.promised.pop(job.key, None)) is not None:
                self.store.commit(job, fire(promised, Trigger.ACCEPTED), Trigger.ACCEPTED)

    @rule(wanted=WANTED)
    def bring_back(self, wanted: dict[str, Any]) -> None:
        """A job that was taken on when the machine was another one."""
        self.count += 1
        self.steady = False
        taken_on(self.store, self.count, **wanted)

    @rule(which=st.integers(0, 9))
    def take(self, which: int) -> None:
        """Any job may come first. One that fitted what was offered gets what it needs."""
        for job in self._any(which, JobState.DOWNLOADING):
            try:
                held = self.ledger.hold(job)
            except Paused:
                assert not (self.steady and job.key in self.fitted)
                return
            started(self.store, held)

    @rule(which=st.integers(0, 9), because=st.sampled_from([Trigger.LOST, Trigger.EXITED, Trigger.GONE]))
    def leave_running(self, which: int, because: Trigger) -> None:
        for job in self._any(which, JobState.RUNNING):
            facts = {"exit": Exit(code=0)} if because is Trigger.EXITED else {}
            moved(self.store, job, because, **facts)

    @rule(which=st.integers(0, 9))
    def end(self, which: int) -> None:
        for job in self._any(which, *LIVE):
            moved(self.store, job, Trigger.FAILED)

    @rule(there=st.sets(st.sampled_from(GPUS)))
    def change_gpus(self, there: set[Gpu]) -> None:
        """As after a reboot, or a driver that broke."""
        self.steady = False
        gpus = tuple(gpu for gpu in GPUS if gpu in there)
        self.machine = Hardware(self.machine.memory, self.machine.memory, self.machine.cpu_cores, gpus)

    @invariant()
    def never_more_than_the_machine(self) -> None:
        if not self.store.jobs:
            return
        held = [job.facts for job in self._holders()]
        cents = sum(round((facts.share.cpu_cores or 0) * 100) for facts in held if facts.share)
        memory = sum(facts.share.memory or 0 for facts in held if facts.share)

        assert cents <= self.machine.cpu_cores * 100
        assert memory <= self.machine.memory

    @invariant()
    def one_gpu_to_one_job(self) -> None:
        held = [uuid for job in self._holders() for uuid in job.facts.gpus]

        assert sorted(set(held)) == sorted(held)

    @precondition(lambda self: self.count > 0)
    @invariant()
    def what_asks_for_a_gpu_and_runs_has_one(self) -> None:
        for job in self._holders():
            wanted = job.spec.hardware
            if job.facts.run and (wanted.gpu_model or wanted.gpu_archi or wanted.gpu_mem):
                assert len(job.facts.gpus) == 1

    def _holders(self) -> list[Job]:
        known = [self.promised.get(job.key, job) for job in self.store.live()]
        return [job for job in known if job.facts.exit is None]

    def _any(self, which: int, *states: JobState) -> list[Job]:
        found = [job for job in self.store.live() if job.state in states]
        return [found[which % len(found)]] if found else []


def _fits(free: Free, wanted: dict[str, Any]) -> bool:
    """What the API does: null fits, names are equal, numbers are at most what was offered."""
    gpu = free.gpus[0] if free.gpus else None
    limits = {"cpu_cores": int(free.cpu_cores), "memory": free.memory, "gpu_mem": gpu.free if gpu else 0}
    names = {"gpu_model": gpu.model if gpu else None, "gpu_archi": gpu.architecture if gpu else None}
    return all(wanted.get(name, 0) <= limit for name, limit in limits.items()) and all(
        wanted.get(name) in (None, offer) for name, offer in names.items()
    )


TestSharing: Callable[[], Any] = Sharing.TestCase
Sharing.TestCase.settings = settings(calm, max_examples=150, stateful_step_count=30)
