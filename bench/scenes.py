"""What happens to a fleet of workers, and what the API sees of it."""

import logging
import random
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import ceil

from bench.fleet_worker import KEEP_ALIVE, PERIOD, FleetWorker, Habits, Work
from bench.measure import Goal, Ground, Row, row
from bench.virtual import Outage, Service, VirtualClock, chance
from jobfetcher.pace import JITTER

WARM_UP = 60.0
"""Seconds until a fleet counts as settled; then it is watched for as long, before anything happens."""
AFTERWARDS = 300.0
"""Seconds for which a fleet is watched after the API came back."""
TOLERABLE = 2.0
"""The highest peak, as a multiple of the steady rate."""
MEAN_SHARE = 1 - JITTER / 2
"""The mean wait as a share of what the setting says."""


def in_step() -> float:
    """No chance at all: what the worker did before its waits were scattered."""
    return 0.0


@dataclass(frozen=True)
class Scene:
    """What happens to a fleet."""

    name: str
    habits: Habits = field(default_factory=Habits)
    outage: float = 0.0
    """Seconds for which the API is away; 0: it stays."""
    silent: bool = False
    """Nobody refuses a connection meanwhile: each attempt takes its time-out."""
    together: bool = False
    """All workers start at the same instant, at the beginning of the outage if there is one."""
    spread: float = 0.0
    """Or each so many seconds later at most."""

    @property
    def back(self) -> float:
        """When the API is there (again), in seconds from the beginning."""
        return self.outage if self.together else 2 * WARM_UP + self.outage


LOADED = Habits(Work())
SCENES = (
    Scene("idle, outage of 1 min", outage=60),
    Scene("idle, outage of 10 min", outage=600),
    Scene("idle, outage of 1 h", outage=3600),
    Scene("idle, 10 min without any answer", outage=600, silent=True),
    Scene("loaded, outage of 1 min", LOADED, outage=60),
    Scene("loaded, outage of 10 min", LOADED, outage=600),
    Scene("loaded, outage of 1 h", LOADED, outage=3600),
    Scene("idle, all started while the API was away for 1 min", outage=60, together=True),
)
STARTS = (
    Scene("idle, all started at the same instant", together=True),
    Scene("loaded, all started at the same instant", LOADED, together=True),
    Scene("idle, the same without jitter", Habits(random=in_step), together=True),
    Scene("loaded, the same without jitter", Habits(Work(), random=in_step), together=True),
)


@dataclass(frozen=True)
class Trace:
    """What the API saw."""

    scene: Scene
    workers: int
    moments: Sequence[float]
    """When each request came, in order, in seconds."""
    asked: dict[str, int]
    """How many requests of each kind."""

    def rates(self, begin: float, end: float) -> list[int]:
        """Requests in each second of a span."""
        first, last = bisect_left(self.moments, begin), bisect_left(self.moments, end)
        counts = Counter(int(moment - begin) for moment in self.moments[first:last])
        return [counts[second] for second in range(ceil(end - begin))]

    @property
    def steady(self) -> float:
        """Requests a second while nothing happens."""
        begin = self.scene.back + AFTERWARDS - WARM_UP if self.scene.together else WARM_UP
        return sum(self.rates(begin, begin + WARM_UP)) / WARM_UP

    def peak(self, after: float = 0.0) -> int:
        """The most requests in one second, from ``after`` seconds after the API's return on."""
        return max(self.rates(self.scene.back + after, self.scene.back + AFTERWARDS))

    def longest_wait(self, capacity: float) -> float:
        """The longest time until an answer, in seconds, if the API takes ``capacity`` requests a second."""
        free, longest = 0.0, 0.0
        for moment in self.moments:
            free = max(free, moment) + 1 / capacity
            longest = max(longest, free - moment)
        return longest


def simulate(scene: Scene, workers: int, seed: int = 1) -> Trace:
    """Let the scene happen to so many workers. The same seed gives the same requests."""
    with chance(seed), _silence():
        clock = VirtualClock()
        start = 0.0 if scene.together else 2 * WARM_UP
        service = Service(Outage(start, scene.outage, scene.silent) if scene.outage else None)
        busy = scene.habits.work is not None
        fleet = [FleetWorker(clock, service, scene.habits, busy) for _ in range(workers)]
        for worker in fleet:
            worker.start(random.random() * (scene.spread if scene.together else scene.habits.period))
        clock.run(scene.back + AFTERWARDS)
    asked = {kind: len(moments) for kind, moments in service.asked.items()}
    return Trace(scene, workers, service.moments(), asked)


@contextmanager
def _silence() -> Iterator[None]:
    """The shipped code logs each failure; here these are millions."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


def fleet(ground: Ground) -> Iterator[Row]:
    """The herd after each outage, beside the steady rate."""
    for scene in SCENES:
        trace = simulate(scene, ground.scale.fleet)
        name = f"simulated fleet of {trace.workers:,}, {scene.name}: peak after it; steady rate"
        yield row(name, "requests/s", [trace.peak()], [trace.steady], Goal(TOLERABLE))


def advised_period(workers: int, capacity: float, least: float = PERIOD) -> float:
    """Seconds between two requests of a worker, so that all of them take half of what the API can take.

    Half, since the herd after an outage may be twice the steady rate.
    """
    needed = TOLERABLE * workers / (MEAN_SHARE * capacity)
    step = 5 if needed <= 60 else 10
    return max(least, step * ceil(needed / step))


@dataclass(frozen=True)
class Advice:
    """What the settings of a fleet should be, and how long its first polls would then wait for an answer."""

    workers: int
    capacity: int
    """Requests a second that the API takes."""
    period: float
    """TIMEOUT_JOB in seconds."""
    keep_alive: float
    """TIMEOUT_STATUS in seconds, if all workers are busy."""
    at_once: float
    """Seconds until the slowest answer, all workers having started at the same instant."""
    within_a_minute: float
    """The same, had they started at any time within a minute."""


def advice(fleets: Sequence[int]) -> Iterator[Advice]:
    """For fleets and services of several sizes."""
    for workers in fleets:
        for capacity in (20, 100, 500):
            period = advised_period(workers, capacity)
            habits = Habits(period=period)
            waits = [
                simulate(Scene("", habits, together=True, spread=spread), workers).longest_wait(capacity)
                for spread in (0, 60)
            ]
            keep_alive = advised_period(workers, capacity, KEEP_ALIVE)
            yield Advice(workers, capacity, period, keep_alive, *waits)
