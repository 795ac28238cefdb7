"""What the store's tests share: a specification, a way through the states, an API that hears everything."""

from states.job import Exit, Job, JobState, Trigger
from states.machine import fire
from states.ports import Store, StoredFile
from states.spec import JobSpec

WAY: dict[JobState, list[Trigger]] = {
    JobState.FETCHED: [],
    JobState.DOWNLOADING: [Trigger.ACCEPTED],
    JobState.RUNNING: [Trigger.ACCEPTED, Trigger.DOWNLOADED],
    JobState.UPLOADING: [Trigger.ACCEPTED, Trigger.DOWNLOADED, Trigger.EXITED],
    JobState.ERROR: [Trigger.FAILED],
    JobState.FINISHED: [Trigger.ACCEPTED, Trigger.DOWNLOADED, Trigger.EXITED, Trigger.UPLOADED],
    JobState.CANCELLED: [Trigger.GONE],
}
"""How a job comes from ``fetched`` to each state."""


def spec(number: int = 1) -> JobSpec:
    """A job's specification, as the API sends it; another number is another job."""
    raw = {
        "app": {"cmd": ["true"], "env": None},
        "handler": {"image_url": "busybox", "files_up": {"output": "out"}, "later": ["field"]},
        "meta": {"job_id": 100 + number, "date_created": "2026-01-01T00:00:00"},
        "hardware": {},
    }
    return JobSpec.parse(str(number), raw)


def whole(path: str, direction: str = "down", size: int = 1) -> StoredFile:
    """A file that was transferred."""
    return StoredFile(direction=direction, kind="input", path=path, size=size, sha256="00", seconds=0.5)


def moved(store: Store, job: Job, because: Trigger, **facts: object) -> Job:
    """The job after one move, knowing ``facts``."""
    return store.commit(job, fire(job.with_facts(**facts), because), because)


def brought_to(store: Store, job: Job, state: JobState, detail: str = "") -> Job:
    """The job, moved along from ``fetched`` to ``state``."""
    for trigger in WAY[state]:
        job = moved(store, job, trigger, exit=Exit(code=0), detail=detail)
    return job


def sent(store: Store) -> list[tuple[str, str, str]]:
    """Everything that the store wants sent (id, status, detail), in its order, acknowledged one by one."""
    heard = []
    while updates := store.unsent():
        for update in updates:
            heard.append((update.job_id, update.status.value, update.detail))
            store.mark_sent(update)
    return heard
