"""The protocol of worker, store, engine and API, played at random.

Whatever happens in whatever order: nothing runs twice, the API hears statuses in order and none after a
404, an end is an end, and once the faults stop every job comes to one. The worker's parts are the real
ones, stepped by one thread; the world around them is a model. With ``JOBFETCHER_EXPLORE=n`` in the
environment n fresh sequences are played, instead of the same ones each time.
"""

import os
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from states.job import ApiStatus, JobState
from states.table import TERMINAL
from tests.crash_injection import SimulatedCrash
from tests.model.engine import EVENTS as OF_THE_ENGINE
from tests.model.life import Life, World
from tests.model.service import EVENTS as OF_THE_SERVICE
from tests.model.service import LEASED, RIVAL, Row

EXPLORE = int(os.environ.get("JOBFETCHER_EXPLORE", "0"))
ROUNDS = 60
"""Within so many turns of the calm world every job must have come to its end."""
LONG = 31.0
"""Seconds after which every backoff is over."""

WORKS = {
    "go round": ("report", "fetch", "work", "report", "work"),
    "work": ("work",),
    "fetch": ("fetch",),
    "report": ("report",),
    "sweep": ("sweep",),
    "obey": ("obey",),
}
"""What the worker can be let do: parts of a ``Life``."""
PICKS = st.integers(0, 3)
BEFALLING = st.sampled_from(
    ("worker dies", "host reboots", "time passes", "operator cancels", *OF_THE_SERVICE, *OF_THE_ENGINE)
)
BESIDE = st.sampled_from(
    (
        *("worker dies", "report", "sweep", "work", "obey", "operator cancels", "user deletes"),
        *("rival takes", *OF_THE_ENGINE),
    )
)
"""What may happen between two calls of the worker."""


class Protocol(RuleBasedStateMachine):
    """One worker in its world. A rule is something that the worker does, or that befalls it."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.world.api.submit()
        self.life: Life | None = Life(self.world)
        self.ended: dict[int, JobState] = {}

    @rule(what=st.sampled_from(tuple(WORKS)))
    def worker(self, what: str) -> None:
        """The worker does one thing; if it is dead, it is started first."""
        self.life = self.life or Life(self.world)
        self._let(what)

    @rule(what=st.sampled_from(tuple(WORKS)), at=st.integers(0, 40), beside=BESIDE, pick=PICKS)
    def worker_is_disturbed(self, what: str, at: int, beside: str, pick: int) -> None:
        """Something happens in the middle of what it does."""
        self.life = self.life or Life(self.world)
        self.life.points.plan(at, self._happening(self.life, beside, pick))
        self._let(what)

    @rule(what=BEFALLING, pick=PICKS)
    def befalls(self, what: str, pick: int) -> None:
        """Something happens that the worker has no part in."""
        self._befall(what, pick)

    @invariant()
    def all_is_well(self) -> None:
        """What must hold at any time."""
        world = self.world
        assert world.wrong == []
        assert world.api.disorder == []
        assert [name for name, times in world.engine.starts.items() if times > 1] == []
        for job in world.store.jobs.values():
            if job.state in TERMINAL:
                assert self.ended.setdefault(job.key, job.state) is job.state
            if job.state is JobState.FINISHED:
                assert world.engine.own_ends.get(job.run_name) == 0
        assert {JobState.ERROR} >= {world.store.get(key).state for key in world.desk.cancelled()}

    def teardown(self) -> None:
        """Once the faults stop, every job reaches its end, and nothing is left."""
        self.world.engine.away = False
        self.world.api.failures, self.world.api.loses_next = 0, False
        self.life = self.life or Life(self.world)
        for _ in range(ROUNDS):
            if not self._left():
                return
            self._calm_round(self.life)
            self.all_is_well()
        assert self._left() == []

    def _calm_round(self, life: Life) -> None:
        self.world.now += LONG
        for row in [row for row in self.world.api.rows.values() if row.status in LEASED]:
            if row.account == RIVAL:
                row.status = ApiStatus.FINISHED
            elif not self._known(row):
                self.world.api.time_out(row)
        for part in (life.obey, life.report, life.work, life.report, life.fetch, life.sweep):
            part()
        for found in self.world.engine.running():
            self.world.engine.ends(found, 0)

    def _left(self) -> list[object]:
        world = self.world
        left: list[object] = [row for row in world.api.rows.values() if row.open]
        left += [*world.store.live(), *world.store.unsent(), *world.desk.waiting()]
        return [*left, *world.engine.containers, *world.folders]

    def _known(self, row: Row) -> bool:
        """The worker still speaks for it."""
        lease, store = row.spec().lease, self.world.store
        known = [job for job in store.jobs.values() if job.spec.lease == lease and not job.gone]
        return any(not store.reported(job.key) for job in known)

    def _let(self, what: str) -> None:
        assert self.life is not None
        with suppress(SimulatedCrash):
            for part in WORKS[what]:
                getattr(self.life, part)()
        self.life.points.forget()
        if self.life.points.dead:
            self.life = None

    def _happening(self, life: Life, beside: str, pick: int) -> Callable[[], None]:
        if beside == "worker dies":
            return life.points.die
        if beside in WORKS:
            return partial(getattr(life, beside))
        return partial(self._befall, beside, pick)

    def _befall(self, what: str, pick: int) -> None:
        if what in OF_THE_SERVICE:
            self.world.api.befall(what, pick)
        elif what in OF_THE_ENGINE:
            self.world.engine.befall(what, pick)
        elif what == "operator cancels":
            if jobs := list(self.world.store.jobs.values()):
                self.world.desk.cancel(jobs[-1 - pick % len(jobs)].key)
        elif what == "time passes":
            self.world.now += (1.0, 11.0, LONG, 3600.0)[pick]
        else:
            self.life = None
            if what == "host reboots":
                self.world.engine.restart(255)


TestProtocol = Protocol.TestCase
TestProtocol.settings = settings(
    max_examples=EXPLORE or 600,
    stateful_step_count=40,
    derandomize=not EXPLORE,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
