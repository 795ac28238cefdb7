"""How a figure is made: what is compared takes turns within one run, and medians are set side by side."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

MIB = 1024 * 1024


@dataclass(frozen=True)
class Scale:
    """How much is done."""

    rounds: int
    """Times that each thing is measured."""
    more: int
    """Times for what is soon measured and scatters much."""
    bulk: int
    """Bytes of the large file."""
    files: int
    """Number of small files."""
    moves: int
    """Durable moves in one round."""
    ended: int
    """Ended jobs in the database."""
    idle_seconds: float
    block: int
    """No-op jobs in one round."""
    few: int
    """Jobs after which a worker's memory counts as settled."""
    many: int
    """Jobs after which it is compared with that."""
    fleet: int
    """Workers in the simulation."""
    far: int
    """Bytes of a file that comes over the long link."""
    far_files: int
    stall_seconds: float
    """How long the silent connection of that link stays silent."""
    peer_jobs: int
    """No-op jobs that a peer runs at once."""
    far_one: int
    """Bytes of the one large file that comes over the long link."""


FULL = Scale(
    7, 21, 2048 * MIB, 2000, 1000, 10_000, 60, 30, 50, 2000, 10_000, 200 * MIB, 10, 300, 20, 512 * MIB
)
QUICK = Scale(1, 2, 4 * MIB, 20, 24, 100, 2, 2, 2, 4, 50, 2 * MIB, 2, 0.5, 2, 4 * MIB)


@dataclass(frozen=True)
class Ground:
    """Where a benchmark works, and how much it does. The folder is its own, and empty."""

    folder: Path
    scale: Scale


@dataclass(frozen=True)
class Goal:
    """The limit that a row should keep to."""

    limit: float
    of: str = "ratio"
    """``ratio`` to the floor, or ``ours``."""
    least: bool = False
    """The limit is a lower one."""

    def met(self, ours: float, ratio: float | None) -> bool:
        """Whether the row keeps to it."""
        found = ours if self.of == "ours" else ratio
        return found is not None and (found >= self.limit if self.least else found <= self.limit)

    def text(self, unit: str) -> str:
        """For people: ``≤ 1.05 x``."""
        return f"{'≥' if self.least else '≤'} {self.limit:.3g} {unit if self.of == 'ours' else 'x'}"


@dataclass(frozen=True)
class Row:
    """One line of the results."""

    name: str
    ours: float | None
    """None: it could not be measured; the name says why."""
    floor: float | None
    ratio: float | None
    goal: str
    met: bool | None
    """None: there is no goal."""
    unit: str


def row(name: str, unit: str, ours: Sequence[float], floor: Sequence[float] | None, goal: Goal | None) -> Row:
    """The row of some samples: their medians, and the ratio of these. Without a floor there is no ratio."""
    mine = median(ours)
    theirs = None if floor is None else median(floor)
    ratio = None if not theirs else mine / theirs
    if goal is None:
        return Row(name, mine, theirs, ratio, "-", None, unit)
    return Row(name, mine, theirs, ratio, goal.text(unit), goal.met(mine, ratio), unit)


def interleaved(rounds: int, *works: Callable[[], float]) -> list[list[float]]:
    """What each of ``works`` returned, ``rounds`` times. They take turns, and each goes first in its turn."""
    samples: list[list[float]] = [[] for _ in works]
    for number in range(rounds):
        for place in range(len(works)):
            turn = (number + place) % len(works)
            samples[turn].append(works[turn]())
    return samples


def timed(work: Callable[[], object]) -> float:
    """Seconds that ``work`` takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def percentile(samples: Sequence[float], share: float) -> float:
    """The smallest sample that at least ``share`` of all do not exceed."""
    ordered = sorted(samples)
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)]


def until(what: str, reached: Callable[[], bool], seconds: float = 120, every: float = 0.05) -> None:
    """Return once ``reached`` is true. Raises ``TimeoutError`` naming ``what``."""
    end = time.monotonic() + seconds
    while not reached():
        if time.monotonic() > end:
            raise TimeoutError(f"Waited {seconds:.0f} s in vain for: {what}.")
        time.sleep(every)
