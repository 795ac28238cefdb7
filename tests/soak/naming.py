"""Which runs are whose: the names of all runs of one delivery of a job differ in their last number only."""

from persistence.rows import JobRow
from states.job import Job
from states.spec import JobSpec


def stem(name: str) -> str:
    """What the names of all runs of the same delivery have in common."""
    return name.rpartition("-")[0]


def stem_of(row: JobRow) -> str:
    """The same, of the runs that this row had."""
    spec = JobSpec.parse(row.api_id, row.spec)
    return stem(Job(key=row.key, worker=row.worker, spec=spec, delivery=row.delivery).run_name)
