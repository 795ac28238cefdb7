"""Between the values of ``states`` and the columns of the tables."""

import json
from collections.abc import Iterable
from typing import Any

from sqlalchemy import Row

from states.job import ApiStatus, Facts, Job, JobState, StatusUpdate, Trigger
from states.ports import StoredFile
from states.spec import JobSpec


def spec_text(spec: JobSpec) -> str:
    """The specification as JSON. Escaped, so that text which is not valid Unicode comes back as it was."""
    return json.dumps(spec.model_dump(warnings=False))


def facts_text(facts: Facts) -> str:
    """The facts as JSON."""
    return plain(json.dumps(facts.model_dump(warnings=False), ensure_ascii=False))


def plain(text: str) -> str:
    """``text`` as the database can hold it: half characters (from file names, say) become ``?``."""
    return text.encode(errors="replace").decode()


def job_from(row: Row[Any]) -> Job:
    """The job of a whole row of ``jobs``."""
    spec = JobSpec.model_validate(json.loads(row.spec))
    job = Job(key=row.key, worker=row.worker, spec=spec, delivery=row.delivery, created_at=row.created_at)
    return refreshed(job, row)


def refreshed(job: Job, row: Row[Any]) -> Job:
    """The same job as its row has it now; what cannot change is not read again."""
    changes = {
        "state": JobState(row.state),
        "version": row.version,
        "attempts": row.attempts,
        "run": row.run,
        "told": ApiStatus(row.told),
        "gone": row.gone,
        "facts": Facts.model_validate_json(row.facts),
        # SQLite's RETURNING gives a whole REAL back as an integer.
        "updated_at": float(row.updated_at),
    }
    return job.model_copy(update=changes)


def update_from(row: Row[Any], followed: bool = False) -> StatusUpdate:
    """A status for the API; ``followed``: another one of its job waits behind it."""
    return StatusUpdate(
        id=row.id,
        job_key=row.job_key,
        job_id=row.api_id,
        status=ApiStatus(row.status),
        detail=row.detail,
        followed=followed,
    )


def new_job(worker: str, spec: JobSpec, delivery: int, now: float) -> dict[str, object]:
    """The columns of a lease just taken on."""
    job = Job(key=0, worker=worker, spec=spec, delivery=delivery)
    return {
        "worker": worker,
        "lease": plain(spec.lease),
        "delivery": delivery,
        "api_id": plain(spec.id),
        "state": job.state.value,
        "version": job.version,
        "attempts": job.attempts,
        "run": job.run,
        "told": job.told.value,
        "gone": job.gone,
        "spec": spec_text(spec),
        "facts": facts_text(job.facts),
        "created_at": now,
        "updated_at": now,
    }


def first_move(job: Job) -> dict[str, object]:
    """The history row of a lease just taken on."""
    return _move(job, source=None, because=None, attempts=0, at=job.created_at, detail="")


def move(before: Job, after: Job, because: Trigger, now: float) -> dict[str, object]:
    """The history row of a move. Its detail is why the job, or its run, went wrong."""
    wrong = because is Trigger.LOST or after.state is JobState.ERROR
    detail = plain(after.facts.detail) if wrong else ""
    source, attempts = before.state.value, before.attempts
    return _move(after, source=source, because=because.value, attempts=attempts, at=now, detail=detail)


def file_rows(job: Job, files: Iterable[StoredFile]) -> list[dict[str, object]]:
    """The rows of the job's files that were whole when it was last written."""
    return [{"job_key": job.key, "at": job.updated_at, **file.model_dump()} for file in files]


def _move(job: Job, **columns: object) -> dict[str, object]:
    return {"job_key": job.key, "target": job.state.value, "run": job.run, **columns}


def moved_columns(after: Job, because: Trigger) -> dict[str, object]:
    """What a move writes into the job's own row."""
    return {
        "new_state": after.state.value,
        "new_attempts": after.attempts,
        "new_run": after.run,
        "new_told": after.told.value,
        "now_gone": because is Trigger.GONE,
        "new_facts": facts_text(after.facts),
    }


def told(job: Job) -> tuple[str, str]:
    """The status that the job's ``told`` stands for, and the detail that goes with it."""
    detail = plain(job.facts.detail) if job.told is ApiStatus.ERROR else ""
    return job.told.value, detail
