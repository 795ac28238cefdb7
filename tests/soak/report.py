"""What a soak tells: figures first, then whatever is wrong."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from tests.soak.lives import Life, Sample

SHOWN = 40
"""Problems that are printed in full."""


@dataclass
class Report:
    """The result of a soak. It is good if there are no ``problems``."""

    seed: int
    runner: str
    places: int
    """Jobs at work at once, at most."""
    minutes: float = 0.0
    """How long the faults lasted."""
    lives: list[Life] = field(default_factory=list)
    restarts: int = 0
    """Of the engine."""
    robberies: int = 0
    """Containers that were removed while they ran."""
    taken: int = 0
    """Jobs that the other worker pulled after the service had queued them again."""
    requeued: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    """How often each kind was played."""
    jobs: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    reasons: list[str] = field(default_factory=list)
    excused: Counter[str] = field(default_factory=Counter)
    starts: int = 0
    """Containers (or processes) started."""
    recoveries: list[float] = field(default_factory=list)
    """Seconds from a start to the first acknowledged status of a job that was found in the database."""
    settled: float = 0.0
    """Seconds from the last fault to the last end."""
    points: int = 0
    """Points at which lives may be aimed."""
    asked: Counter[str] = field(default_factory=Counter)
    """How often the operator asked for each kind."""
    refused: Counter[str] = field(default_factory=Counter)
    """How often that was refused."""
    at_once: int = 0
    """The most containers (or processes) that ran at one time."""
    looks: int = 0
    """How often there were any when somebody looked."""
    limited: int = 0
    """Containers whose limits were looked at."""
    pages: Counter[int] = field(default_factory=Counter)
    """What the workers' port answered, by code."""
    problems: list[str] = field(default_factory=list)

    @property
    def kills(self) -> int:
        return sum(life.killed for life in self.lives)

    @property
    def good(self) -> bool:
        return not self.problems

    def __str__(self) -> str:
        return "\n".join([*self._figures(), *self._wrong()])

    def _figures(self) -> list[str]:
        return [
            f"soak: seed {self.seed}, runner {self.runner}, {self.places} at a time, "
            f"{self.minutes:.1f} minutes of faults, then {self.settled:.0f} s to settle",
            *self._worker(),
            f"engine: {self.restarts} restarts, {self.robberies} containers removed while they ran, "
            f"{self.starts} starts",
            f"machine: at most {self.at_once} ran at one time ({self.looks} looks), "
            f"limits of {self.limited} containers",
            f"API: {sum(self.faults.values())} faults played ({_counted(self.faults)})",
            f"leases: {self.requeued} queued again by the service, "
            f"{self.taken} of them taken by another worker",
            f"operator: {sum(self.asked.values())} requests ({_counted(self.asked)}), "
            f"refused: {_counted(self.refused) or 'none'}",
            f"jobs: {self.jobs} ({_counted(self.outcomes)})",
            *(f"  given up: {reason}" for reason in self.reasons),
            f"recoveries: {len(self.recoveries)}, {_spread(self.recoveries)}",
            f"repeated after a death between answer and commit: {_counted(self.excused) or 'nothing'}",
            *self._sizes(),
        ]

    def _worker(self) -> list[str]:
        how = Counter(life.how for life in self.lives)
        hit = Counter(life.point for life in self.lives if life.hit)
        drained = sum(life.by_itself and life.code == 0 for life in self.lives)
        keeping = sum(life.keeps for life in self.lives)
        ports = sum(life.has_port for life in self.lives)
        return [
            f"worker: {len(self.lives)} lives ({_counted(how)}), {self.kills} SIGKILLs, "
            f"{drained} left when drained",
            f"  aimed: {hit.total()} died at their point, at {len(hit)} of {self.points} points "
            f"({_counted(Counter(point.partition('.')[0] for point in hit.elements())) or 'none'})",
            f"  {keeping} lives kept folders; {ports} had a port, which answered {self.pages.total()} times "
            f"({_counted(self.pages)})",
        ]

    def _sizes(self) -> list[str]:
        if not self.lives or not self.lives[-1].samples:
            return []
        everything = [sample for life in self.lives for sample in life.samples]
        samples = self.lives[-1].samples
        shown = [samples[at * (len(samples) - 1) // 6] for at in range(7)]
        most = Sample(
            0,
            max(sample.resident for sample in everything),
            max(sample.descriptors for sample in everything),
            max(sample.threads for sample in everything),
        )
        return [
            f"memory/descriptors/threads: most {most} in any life",
            f"  course of the last life: {', '.join(f'{one.age:.0f} s: {one}' for one in shown)}",
        ]

    def _wrong(self) -> list[str]:
        if self.good:
            return ["verdict: good"]
        more = [f"  ... and {len(self.problems) - SHOWN} more"] if len(self.problems) > SHOWN else []
        return [
            f"verdict: {len(self.problems)} PROBLEMS",
            *(f"  {one}" for one in self.problems[:SHOWN]),
            *more,
        ]


def _counted(counter: Counter[Any]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counter.most_common() if count)


def _spread(seconds: list[float]) -> str:
    if not seconds:
        return "none"
    ordered = sorted(seconds)
    return f"median {ordered[len(ordered) // 2]:.1f} s, worst {ordered[-1]:.1f} s"
