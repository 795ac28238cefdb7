"""The store as the worker uses it: with named places to crash at, and the log told where each job is."""

from collections.abc import Sequence

from jobfetcher import logs
from jobfetcher.failpoints import failpoint
from persistence.store import SqlStore
from states.job import Job, Trigger
from states.ports import StoredFile


class CrashableStore(SqlStore):
    """A ``SqlStore`` whose moves pass failpoints; the thread's log lines say to which state they led."""

    def begin(self, job: Job) -> Job:
        begun = super().begin(job)
        logs.now(state=str(begun.state), attempt=begun.attempts)
        failpoint(f"{job.state}.begun")
        return begun

    def commit(self, before: Job, after: Job, because: Trigger, files: Sequence[StoredFile] = ()) -> Job:
        failpoint(f"{after.state}.before-commit")
        committed = super().commit(before, after, because, files)
        logs.now(state=str(committed.state), attempt=committed.attempts)
        failpoint(f"{after.state}.committed")
        if committed.attempts:
            failpoint(f"{after.state}.begun")
        return committed
