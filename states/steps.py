"""What is done in each live state: one small function each, safe to run twice or after half of itself.

A step returns an ``Outcome`` or raises one of ``states.errors``. It never tells the API a status and
never moves the job: the loop in ``states.advance`` does, from what the step returns.
"""

from collections.abc import Callable
from dataclasses import dataclass

from states.errors import RunLost
from states.job import Exit, Job, JobState, Trigger
from states.ports import StoredFile, Tools


@dataclass(frozen=True)
class Outcome:
    """Go on: this is what is known now, and why the job leaves its state."""

    job: Job
    trigger: Trigger
    files: tuple[StoredFile, ...] = ()
    """Whole, and not on record yet."""


def needs_lease(job: Job) -> bool:
    """Whether the API must have acknowledged the job first: before a container is made, before uploads."""
    return job.state is JobState.UPLOADING or (job.state is JobState.RUNNING and job.facts.run is None)


def accept(job: Job, tools: Tools) -> Outcome:
    """Admit the job, make its folder, and set its part of the machine aside.

    Safe twice: nothing of the job can be worth keeping before it is accepted. What is there then was
    left by half of this step, or by a worker whose database is lost.
    """
    tools.workspace.admit(job)
    if tools.workspace.used(job):
        tools.runner.remove(job.run_name)
        tools.workspace.discard(job)
    tools.workspace.prepare(job)
    return Outcome(tools.promise(job), Trigger.ACCEPTED)


def download(job: Job, tools: Tools) -> Outcome:
    """Inputs and image, side by side. Safe twice: whole files are skipped, a pull is repeatable."""
    folder = tools.workspace.prepare(job)
    image: list[str] = []
    tools.together(
        lambda stop: tools.transfers.download(job, folder, stop),
        lambda stop: image.append(tools.runner.prepare(job.spec, stop)),
    )
    return Outcome(job.with_facts(image_id=image[0]), Trigger.DOWNLOADED)


def run(job: Job, tools: Tools) -> Outcome:
    """Start or adopt the container and wait for its end.

    Safe twice: the intent (name, image, share, GPUs) was committed before, the container's id is
    committed before it is started, and a started container is only ever adopted. Deaths before the wait
    count as tries, so that they come to an end; only the one at a new container's first start does not.
    """
    job = tools.hold(job)
    try:
        known = job.facts.run
        created = tools.runner.create(job, tools.workspace.folder(job), tools.stop)
        if known is None:
            job = tools.settle(job.with_facts(run=created))
        started = tools.runner.start(job, created, tools.stop)
        if known is not None:
            job = tools.settle(job.with_facts(run=started))
        elif started != created:
            job = tools.note(job.with_facts(run=started))
        ended = tools.runner.wait(job, started, tools.stop)
    except RunLost as lost:
        return Outcome(job.with_facts(detail=str(lost)), Trigger.LOST)
    return Outcome(job.with_facts(exit=ended), Trigger.EXITED)


def upload(job: Job, tools: Tools) -> Outcome:
    """Outputs and the container's log. Safe twice: acknowledged files are skipped, others overwritten."""
    log = tools.runner.logs(job.facts.run, tools.stop) if job.facts.run else iter(())
    sent = tools.transfers.upload(job, tools.workspace.folder(job), log, tools.stop)
    detail = _verdict(job.facts.exit, sent.last_lines)
    return Outcome(job.with_facts(detail=detail), Trigger.UPLOADED, sent.files)


def _verdict(ended: Exit | None, tail: str) -> str:
    """What the job's owner is told; nothing if all went well."""
    if ended is None or ended.ok:
        return ""
    sentence = ended.reason or f"The job's command ended with exit code {ended.code}."
    return f"{sentence}\nThe last lines of its log:\n{tail}" if tail else sentence


STEPS: dict[JobState, Callable[[Job, Tools], Outcome]] = {
    JobState.FETCHED: accept,
    JobState.DOWNLOADING: download,
    JobState.RUNNING: run,
    JobState.UPLOADING: upload,
}
