"""The protocol worker, store, engine and API, played at random: whatever happens in whatever order, nothing
runs twice, the API hears every status in order and nothing after a 404, and every job comes to an end.

The worker's parts are the real ones, stepped by one thread; what is around it is a model. With
``JOBFETCHER_EXPLORE=n`` in the environment n fresh sequences are played instead of the same ones each time.
"""

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from states.job import ApiStatus, JobState
from states.table import TERMINAL
from tests.crash_injection import SimulatedCrash
from tests.model.life import Life, World
from tests.model.service import LEASED, RIVAL, Row

T = TypeVar("T")
EXPLORE = int(os.environ.get("JOBFETCHER_EXPLORE", "0"))
ROUNDS = 60
"""Within so many turns of the calm world every job must have come to its end."""
JOBS = 3
"""Open at a time."""
LONG = 31.0
"""Seconds after which every backoff is over."""

WORKS = {
    "go round": ("report", "fetch", "work", "report", "work"),
    "work": ("work",),
    "fetch": ("fetch",),
    "report": ("report",),
    "sweep": ("sweep",),
}
"""What the worker can be let do: parts of a ``Life``."""

BESIDE = ("crash", "report", "sweep", "work", "engine restarts", "container ends", "removed", "deleted")
"""What may happen between two calls of the worker."""


class Protocol(RuleBasedStateMachine):
    """One worker in its world. A rule is something that the worker does, or that befalls it."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.life: Life | None = Life(self.world)
        self.ended: dict[int, JobState] = {}

    # What people and the service do

    @initialize()
    def first_job(self) -> None:
        self.world.api.submit()

    @precondition(lambda self: sum(row.open for row in self.world.api.rows.values()) < JOBS)
    @rule()
    def submit(self) -> None:
        self.world.api.submit()

    @rule(pick=st.integers(0, 5))
    def user_deletes(self, pick: int) -> None:
        for row in _one(self.world.api.rows.values(), pick):
            row.deleted = True

    @rule(pick=st.integers(0, 5))
    def service_queues_again(self, pick: int) -> None:
        for row in _one(self._leased(), pick):
            self.world.api.time_out(row)

    @rule(pick=st.integers(0, 5))
    def rival_takes(self, pick: int) -> None:
        queued = [row for row in self.world.api.rows.values() if row.status is ApiStatus.QUEUED]
        for row in _one(queued, pick):
            self.world.api.rival_takes(row)

    @rule()
    def next_answer_is_lost(self) -> None:
        self.world.api.loses_next = True

    @rule(times=st.integers(1, 4))
    def api_fails(self, times: int) -> None:
        self.world.api.failures = times

    @rule(seconds=st.sampled_from((1.0, LONG, 3600.0)))
    def clock_jumps(self, seconds: float) -> None:
        self.world.now += seconds

    # What befalls the engine

    @rule(pick=st.integers(0, 3), code=st.sampled_from((0, 0, 3)))
    def container_ends(self, pick: int, code: int) -> None:
        for found in _one(self.world.engine.running(), pick):
            self.world.engine.ends(found, code)

    @rule(pick=st.integers(0, 3))
    def container_is_removed(self, pick: int) -> None:
        for found in _one(self.world.engine.containers.values(), pick):
            del self.world.engine.containers[found["Id"]]

    @rule(code=st.sampled_from((137, 0)))
    def engine_restarts(self, code: int) -> None:
        self.world.engine.restart(code)
        self.world.engine.away = False

    @rule()
    def engine_goes_away(self) -> None:
        self.world.engine.away = True

    @rule()
    def host_reboots(self) -> None:
        self.life = None
        self.world.engine.restart(255)
        self.world.engine.away = False

    # What the worker does

    @rule()
    def crash(self) -> None:
        self.life = None

    @rule(what=st.sampled_from(tuple(WORKS)))
    def worker(self, what: str) -> None:
        """It does one thing; if it is dead, it is started first."""
        self.life = self.life or Life(self.world)
        self._let(what)

    @rule(what=st.sampled_from(tuple(WORKS)), at=st.integers(0, 40), beside=st.sampled_from(BESIDE))
    def worker_is_disturbed(self, what: str, at: int, beside: str) -> None:
        """Something happens in the middle of what it does."""
        self.life = self.life or Life(self.world)
        self.life.points.plan(at, self._happening(self.life, beside))
        self._let(what)

    # What must always hold

    @invariant()
    def nothing_wrong_was_told(self) -> None:
        assert self.world.wrong == []

    @invariant()
    def no_run_was_started_twice(self) -> None:
        assert [name for name, times in self.world.engine.starts.items() if times > 1] == []

    @invariant()
    def statuses_never_go_back_within_a_lease(self) -> None:
        assert self.world.api.disorder == []

    @invariant()
    def ends_are_final(self) -> None:
        for job in self.world.store.jobs.values():
            if job.state in TERMINAL:
                assert self.ended.setdefault(job.key, job.state) is job.state

    @invariant()
    def finished_means_that_the_engine_saw_it(self) -> None:
        for job in self.world.store.jobs.values():
            if job.state is JobState.FINISHED:
                assert self.world.engine.own_ends.get(job.run_name) == 0

    def teardown(self) -> None:
        """Once the faults stop, every live job reaches its end, and nothing is left."""
        self.world.engine.away = False
        self.world.api.failures, self.world.api.loses_next = 0, False
        self.life = self.life or Life(self.world)
        for _ in range(ROUNDS):
            if not (left := self._left()):
                return
            self._calm_round(self.life)
            self.nothing_wrong_was_told()
            self.no_run_was_started_twice()
            self.statuses_never_go_back_within_a_lease()
            self.ends_are_final()
            self.finished_means_that_the_engine_saw_it()
        raise AssertionError(f"never came to an end: {left}")

    def _calm_round(self, life: Life) -> None:
        self.world.now += LONG
        for row in self._leased():
            if row.account == RIVAL:
                row.status = ApiStatus.FINISHED
            elif not self._known(row):
                self.world.api.time_out(row)
        for part in (life.report, life.work, life.report, life.fetch, life.sweep):
            part()
        for found in self.world.engine.running():
            self.world.engine.ends(found, 0)

    def _left(self) -> list[object]:
        world = self.world
        left: list[object] = [row for row in world.api.rows.values() if row.open]
        return [*left, *world.store.live(), *world.store.unsent(), *world.engine.containers, *world.folders]

    def _known(self, row: Row) -> bool:
        """The worker still speaks for it."""
        lease = row.spec().lease
        known = [job for job in self.world.store.jobs.values() if job.spec.lease == lease and not job.gone]
        return any(not self.world.store.reported(job.key) for job in known)

    def _leased(self) -> list[Row]:
        return [row for row in self.world.api.rows.values() if row.status in LEASED and row.account]

    def _let(self, what: str) -> None:
        assert self.life is not None
        with suppress(SimulatedCrash):
            for part in WORKS[what]:
                getattr(self.life, part)()
        self.life.points.forget()
        if self.life.points.dead:
            self.life = None

    def _happening(self, life: Life, beside: str) -> Callable[[], None]:
        return {
            "crash": life.points.die,
            "report": life.report,
            "sweep": life.sweep,
            "work": life.work,
            "engine restarts": lambda: self.world.engine.restart(0),
            "container ends": lambda: self.container_ends(0, 0),
            "removed": lambda: self.container_is_removed(0),
            "deleted": lambda: self.user_deletes(0),
        }[beside]


def _one(found: Iterable[T], pick: int) -> list[T]:
    """One of them, if there is any."""
    every = list(found)
    return [every[pick % len(every)]] if every else []


TestProtocol = Protocol.TestCase
TestProtocol.settings = settings(
    max_examples=EXPLORE or 400,
    stateful_step_count=40,
    derandomize=not EXPLORE,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
