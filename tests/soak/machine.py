"""What was seen of the machine that the jobs share."""

from jobfetcher import cgroup
from jobfetcher.units import MIB
from persistence.rows import JobRow
from tests.soak.naming import stem, stem_of
from tests.soak.watching import Limits, Watch

NANO = 10**9


def judged_machine(watch: Watch, rows: list[JobRow], jobs: int) -> list[str]:
    """Never more than ``jobs`` runs at once, each limited to the share that the database has on record."""
    problems = []
    if len(watch.most) > jobs:
        problems.append(f"{len(watch.most)} runs were at work at one time: {', '.join(watch.most)}")
    if watch.most_cpus > cgroup.cpu_cores() * NANO or watch.most_memory > cgroup.memory_mib() * MIB:
        given = f"{watch.most_cpus / NANO:.2f} cores, {watch.most_memory / MIB:.0f} MiB"
        problems.append(f"the limits of what was at work at one time exceed the machine: {given}")
    by_stem = {stem_of(row): row for row in rows}
    for name, limits in watch.limits.items():
        row = by_stem.get(stem(name))
        if row is None:
            problems.append(f"{name} is the run of no job")
        elif limits != (wanted := _wanted(row)):
            problems.append(f"{name} was limited to {limits} instead of {wanted}")
    return problems


def _wanted(row: JobRow) -> Limits:
    share = row.facts["share"] or {"cpu_cores": None, "memory": None}
    memory = (share["memory"] or 0) * MIB
    return Limits(round((share["cpu_cores"] or 0) * NANO), memory, memory)
