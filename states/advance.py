"""The loop. It cannot tell a job fetched a second ago from one found in the database after a crash."""

from states.errors import JobFailed, JobGone, Paused
from states.job import Job, Trigger
from states.machine import fire
from states.ports import Store, Tools
from states.steps import STEPS, Outcome, needs_lease
from states.table import MAX_ATTEMPTS


def advance(job: Job, store: Store, tools: Tools) -> Job:
    """Take the job from step to step until it is in a terminal state, and return it.

    Raises ``Paused`` when a step cannot go on now; the job stays where it is, without a lost attempt.
    """
    begun = False
    while job.state in STEPS:
        job, begun = _move(job, begun, store, tools)
    return job


def _move(job: Job, begun: bool, store: Store, tools: Tools) -> tuple[Job, bool]:
    """One try of the job's step. ``begun``: its last move has begun it.

    Returns the job as it is then, and whether the next try is begun already.
    """
    before = job.attempts - begun
    if job.gone:
        return _commit(store, job, Outcome(job, Trigger.GONE), tools)
    if before >= MAX_ATTEMPTS:
        return _commit(store, job, Outcome(_given_up(job), Trigger.FAILED), tools)
    try:
        tools.stop.check()
        if needs_lease(job):
            # Waiting for the API is no try: a death meanwhile is not the job's fault.
            tools.lease.confirm(job, tools.stop)
        job = job if begun else store.begin(job)
        outcome = STEPS[job.state](job, tools)
    except JobGone:
        outcome = Outcome(store.get(job.key), Trigger.GONE)
    except JobFailed as failure:
        outcome = Outcome(store.get(job.key).with_facts(detail=str(failure)), Trigger.FAILED)
    except Paused:
        if _counts(job, before, store):
            store.forgive(job)
        raise
    except Exception as bug:
        tried = store.get(job.key) if _counts(job, before, store) else store.begin(job)
        job = store.note(tried.with_facts(stumbled=f"{type(bug).__name__}: {bug}"))
        tools.stumbled(job, bug)
        return job, False
    return _commit(store, job, outcome, tools)


def fail(job: Job, store: Store, detail: str) -> Job:
    """The job, ended in ``error`` without a step; ``detail`` is a sentence for its owner.

    For a live job that nobody works for. Raises ``StaleJob``.
    """
    failed = job.with_facts(detail=detail)
    return store.commit(job, fire(failed, Trigger.FAILED), Trigger.FAILED)


def _counts(job: Job, before: int, store: Store) -> bool:
    """Whether an attempt is on record. Not if none was begun, the step settled down to wait, or it made
    progress."""
    return store.get(job.key).attempts > before


def _commit(store: Store, before: Job, outcome: Outcome, tools: Tools) -> tuple[Job, bool]:
    """Commit the move, and with it the first try of the next step: one wait for the disk instead of two.

    Where the API must have a say first, the try is left to be begun after that. Returns the job, and whether
    a try is begun.
    """
    after = fire(outcome.job, outcome.trigger)
    begins = after.state in STEPS and (not needs_lease(after) or tools.lease.confirmed(after))
    after = after.begun() if begins else after
    return store.commit(before, after, outcome.trigger, outcome.files), begins


def _given_up(job: Job) -> Job:
    last = job.facts.stumbled or "the worker itself stopped each time"
    tried = f"Gave up after {job.attempts} attempts in the state {job.state!s}. The last error was: {last}"
    return job.with_facts(detail=tried)
