"""The store with named places to crash at, before and after each move."""

from jobfetcher.failpoints import failpoint
from persistence.store import SqlStore
from states.job import Job, Trigger


class CrashableStore(SqlStore):
    """A ``SqlStore`` whose moves pass failpoints."""

    def begin(self, job: Job) -> Job:
        begun = super().begin(job)
        failpoint(f"{job.state}.begun")
        return begun

    def commit(self, before: Job, after: Job, because: Trigger) -> Job:
        failpoint(f"{after.state}.before-commit")
        committed = super().commit(before, after, because)
        failpoint(f"{after.state}.committed")
        return committed
