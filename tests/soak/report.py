"""What a soak tells: figures first, then whatever is wrong."""

from collections import Counter
from dataclasses import dataclass, field

from tests.soak.lives import Life

SHOWN = 40
"""Problems that are printed in full."""


@dataclass
class Report:
    """The result of a soak. It is good if there are no ``problems``."""

    seed: int
    runner: str
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
        how = Counter(life.how for life in self.lives)
        return [
            f"soak: seed {self.seed}, runner {self.runner}, {self.minutes:.1f} minutes of faults, "
            f"then {self.settled:.0f} s to settle",
            f"worker: {len(self.lives)} lives ({_counted(how)}), {self.kills} SIGKILLs",
            f"engine: {self.restarts} restarts, {self.robberies} containers removed while they ran, "
            f"{self.starts} starts",
            f"API: {sum(self.faults.values())} faults played ({_counted(self.faults)})",
            f"leases: {self.requeued} queued again by the service, "
            f"{self.taken} of them taken by another worker",
            f"jobs: {self.jobs} ({_counted(self.outcomes)})",
            *(f"  given up: {reason}" for reason in self.reasons),
            f"recoveries: {len(self.recoveries)}, {_spread(self.recoveries)}",
            f"repeated after a death between answer and commit: {_counted(self.excused) or 'nothing'}",
            *self._sizes(),
        ]

    def _sizes(self) -> list[str]:
        if not self.lives or not self.lives[-1].samples:
            return []
        everything = [sample for life in self.lives for sample in life.samples]
        samples = self.lives[-1].samples
        shown = [samples[at * (len(samples) - 1) // 6] for at in range(7)]
        course = ", ".join(f"{age:.0f} s: {resident} MiB/{fds}" for age, resident, fds in shown)
        most = max(resident for _, resident, _ in everything), max(fds for *_, fds in everything)
        return [
            f"memory/descriptors: most {most[0]} MiB/{most[1]} in any life",
            f"  course of the last life: {course}",
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


def _counted(counter: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counter.most_common() if count)


def _spread(seconds: list[float]) -> str:
    if not seconds:
        return "none"
    ordered = sorted(seconds)
    return f"median {ordered[len(ordered) // 2]:.1f} s, worst {ordered[-1]:.1f} s"
