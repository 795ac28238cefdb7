"""Every statement the store writes with, built once: building one takes longer than running it."""

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Select,
    Table,
    Update,
    bindparam,
    delete,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.dialects import sqlite

from persistence.schema import IS_ENDED, IS_LIVE, files, jobs, moves, outbox, requests

_CHANGING = (
    jobs.c.state,
    jobs.c.version,
    jobs.c.attempts,
    jobs.c.run,
    jobs.c.told,
    jobs.c.gone,
    jobs.c.facts,
    jobs.c.updated_at,
)
"""What of a job's row can change; returned by each write, so that the caller's job is the row's."""


def _guarded(**values: object) -> Update:
    return (
        update(jobs)
        .where(jobs.c.key == bindparam("of_key"), jobs.c.version == bindparam("of_version"))
        .values(updated_at=bindparam("now"), **values)
        .returning(*_CHANGING)
    )


BEGIN = _guarded(attempts=jobs.c.attempts + 1)
FORGIVE = _guarded(attempts=func.max(jobs.c.attempts - 1, 0))
PROGRESS = _guarded(attempts=0)
NOTE = _guarded(facts=bindparam("new_facts"))
SETTLE = _guarded(facts=bindparam("new_facts"), attempts=func.max(jobs.c.attempts - 1, 0))
MOVE = _guarded(
    version=jobs.c.version + 1,
    state=bindparam("new_state"),
    attempts=bindparam("new_attempts"),
    run=bindparam("new_run"),
    told=bindparam("new_told"),
    # Said by another thread meanwhile, it stays said.
    gone=jobs.c.gone | bindparam("now_gone"),
    facts=bindparam("new_facts"),
)

ADD_JOB = insert(jobs).returning(*jobs.c)
ADD_MOVE = insert(moves)
QUEUE = insert(outbox)
KEEP_FILE = sqlite.insert(files)
KEEP_FILE = KEEP_FILE.on_conflict_do_update(
    index_elements=list(files.primary_key),
    set_={name: KEEP_FILE.excluded[name] for name in ("size", "sha256", "at", "seconds")},
)
FORGET_FILES = delete(files).where(files.c.job_key == bindparam("of_key"))

SENT = (
    update(outbox)
    .where(outbox.c.id == bindparam("of_id"), outbox.c.sent_at.is_(None))
    .values(sent_at=bindparam("now"))
)
GONE = update(jobs).where(jobs.c.key == bindparam("of_key")).values(gone=True)
SWEPT = update(jobs).where(jobs.c.key == bindparam("of_key")).values(swept_at=bindparam("now"))

_OURS = jobs.c.worker == bindparam("of_worker")
_UNSENT = outbox.c.sent_at.is_(None)
_HEARD = jobs.c.gone | ~select(outbox.c.id).where(outbox.c.job_key == jobs.c.key, _UNSENT).exists()

LATEST = (
    select(jobs).where(_OURS, jobs.c.lease == bindparam("of_lease")).order_by(jobs.c.delivery.desc()).limit(1)
)
GET = select(jobs).where(jobs.c.key == bindparam("of_key"))
FIND = select(jobs).where(_OURS, jobs.c.api_id == bindparam("of_id")).order_by(jobs.c.key.desc())
ALL = select(jobs).where(_OURS).order_by(jobs.c.key)
LIVE = select(jobs).where(_OURS, IS_LIVE).order_by(jobs.c.key)
LIVE_NOW = (
    select(jobs.c.key, jobs.c.api_id, jobs.c.state, jobs.c.attempts)
    .where(_OURS, IS_LIVE)
    .order_by(jobs.c.key)
)
_ASKED_FOR = (
    select(requests.c.id).where(requests.c.job_key == jobs.c.key, requests.c.done_at.is_(None)).exists()
)
SWEEPABLE = (
    select(jobs)
    .where(_OURS, IS_ENDED, jobs.c.swept_at.is_(None), _HEARD, ~_ASKED_FOR)
    .where(jobs.c.gone | (jobs.c.updated_at <= bindparam("ended_by")))
    .order_by(jobs.c.key)
    .limit(bindparam("at_most"))
)
UNSWEPT = select(jobs).where(_OURS, IS_ENDED, jobs.c.swept_at.is_(None)).order_by(jobs.c.key)
_BEFORE: BindParameter[float] = bindparam("ended_by")
_PAST = select(jobs.c.key).where(_OURS, IS_ENDED, _HEARD, ~_ASKED_FOR, jobs.c.updated_at < _BEFORE)
_SWEPT_PAST = _PAST.where(jobs.c.swept_at.is_not(None))
_PAST_REQUEST = (
    (requests.c.worker == bindparam("of_worker"))
    & requests.c.job_key.is_(None)
    & (requests.c.done_at < _BEFORE)
)


def _rows_of(past: Select[tuple[int]]) -> dict[str, tuple[Table, ColumnElement[bool]]]:
    """What hangs on those jobs, by table. The job itself comes last, for its rows are told by it."""
    return {
        "files": (files, files.c.job_key.in_(past)),
        "outbox": (outbox, outbox.c.job_key.in_(past)),
        "moves": (moves, moves.c.job_key.in_(past)),
        "requests": (requests, requests.c.job_key.in_(past) | _PAST_REQUEST),
        "jobs": (jobs, jobs.c.key.in_(past)),
    }


COUNT_PAST = {
    name: select(func.count()).select_from(table).where(which)
    for name, (table, which) in _rows_of(_PAST).items()
}
FORGET_PAST = {name: delete(table).where(which) for name, (table, which) in _rows_of(_SWEPT_PAST).items()}
UNREPORTED = (
    select(jobs)
    .where(_OURS, IS_ENDED, ~jobs.c.gone, jobs.c.key.in_(select(outbox.c.job_key).where(_UNSENT)))
    .order_by(jobs.c.key)
)
REPORTED = select(jobs.c.key).where(jobs.c.key == bindparam("of_key"), IS_ENDED, _HEARD)

_UPDATES = select(outbox.c.id, outbox.c.job_key, jobs.c.api_id, outbox.c.status, outbox.c.detail).join(jobs)
_QUEUES = (
    select(func.min(outbox.c.id).label("first"), func.max(outbox.c.id).label("last"))
    .where(_UNSENT)
    .group_by(outbox.c.job_key)
    .subquery()
)
UNSENT = (
    _UPDATES.add_columns(_QUEUES.c.last)
    .join(_QUEUES, outbox.c.id == _QUEUES.c.first)
    .where(_OURS, ~jobs.c.gone)
    .order_by(outbox.c.id)
    .limit(bindparam("at_most"))
)
NEXT_UNSENT = (
    _UPDATES.where(outbox.c.job_key == bindparam("of_key"), _UNSENT, ~jobs.c.gone)
    .order_by(outbox.c.id)
    .limit(2)
)
"""The first of them may be acknowledged already (``SqlStore.acknowledged``), and no other."""
_ITS_JOB = select(jobs.c.key).where(jobs.c.key == outbox.c.job_key, _OURS, ~jobs.c.gone)
COUNT_UNSENT = select(func.count()).select_from(outbox).where(_UNSENT, _ITS_JOB.exists())
ANY_UNSENT = select(outbox.c.id).where(outbox.c.job_key == bindparam("of_key"), _UNSENT).limit(1)

HISTORY = select(moves).where(moves.c.job_key == bindparam("of_key")).order_by(moves.c.id)
OUTBOX = select(outbox).where(outbox.c.job_key == bindparam("of_key")).order_by(outbox.c.id)
FILES = (
    select(files.c.direction, files.c.kind, files.c.path, files.c.size, files.c.sha256, files.c.seconds)
    .where(files.c.job_key == bindparam("of_key"), files.c.direction == bindparam("of_direction"))
    .order_by(files.c.kind, files.c.path)
)
