"""Does what operators ask of a running worker: the requests that lie in the database, one by one.

A request stays open until what it asks for is on disk. So a handler answers, or says "not yet" and is asked
again a moment later, or at the next start; it may find its own effect done already. Handlers that are at once
done have their effect committed together with the answer.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import asdict

from jobfetcher.doorbell import Doorbell
from jobfetcher.errands import Errands, stumbled
from jobfetcher.failpoints import failpoint
from jobfetcher.pruning import Pruned, Pruning
from jobfetcher.reupload import Reupload
from jobfetcher.stop import StopSignal
from jobfetcher.units import size
from jobfetcher.worker import Worker
from persistence.errors import StoreUnavailable
from persistence.requests import DRAINING, NOTHING_ELSE, Answer, Desk, Effect, Request
from persistence.store import SqlStore
from states.job import Job, JobState
from states.table import LIVE

log = logging.getLogger(__name__)

BUSY_PERIOD = 0.1
"""Seconds between two looks at the requests while one of them is under way."""
LONGEST_REASON = 500
"""Characters of an operator's reason: it travels in a URL."""

Outcome = tuple[Answer, Effect] | None
"""The answer, and what is committed with it. None: not done yet."""


class Control:
    """Looks when ``doorbell`` rings, and as often as that says.

    ``turned_at`` is when it last began to look, in seconds since the epoch.
    """

    def __init__(
        self,
        desk: Desk,
        store: SqlStore,
        worker: Worker,
        pruning: Pruning,
        reupload: Reupload,
        doorbell: Doorbell | None = None,
    ) -> None:
        self._desk = desk
        self._store = store
        self._worker = worker
        self._pruning = pruning
        self._reupload = reupload
        self._errands = Errands()
        self._doorbell = doorbell or Doorbell()
        self._stopping = False
        self._seen: set[int] = set()
        self.turned_at = time.time()
        self._handlers: dict[str, Callable[[Request], Outcome]] = {
            "cancel": self._cancel,
            "retry-upload": self._retry_upload,
            "drain": self._drain,
            "resume": self._resume,
            "prune": self._prune,
        }

    def begin(self) -> None:
        """What must be known before jobs are resumed: whether to fetch, and what was asked meanwhile."""
        if self._desk.flag(DRAINING):
            self._worker.drain(leave=False)
            log.info("worker.draining", extra={"until": "jobfetcher resume"})
        self.turn()

    def stop(self) -> None:
        """Let ``run`` return, and end what is under way; it is begun anew at the next start."""
        self._stopping = True
        self._doorbell.ring()
        self._errands.stop()

    def run(self) -> None:
        """Body of the control thread."""
        while not self._stopping:
            wait = self._doorbell.period
            try:
                wait = BUSY_PERIOD if self.turn() else wait
            except StoreUnavailable as error:
                log.error("control.store-unavailable", extra={"error": str(error)})
            self._doorbell.wait(wait)

    def turn(self) -> bool:
        """Look once at what is open. Whether something of it is still under way."""
        self.turned_at = time.time()
        waiting = self._desk.waiting()
        left = [request for request in waiting if not self._done(request)]
        self._seen = {request.id for request in left}
        return bool(left)

    def _done(self, request: Request) -> bool:
        if request.id not in self._seen:
            said = {"request": request.id, "kind": request.kind, "job_key": request.job_key}
            log.info("request.seen", extra=said)
            failpoint("control.seen")
        outcome = self._handled(request)
        if outcome is None:
            return False
        self._answer(request, *outcome)
        self._errands.forget(request.id)
        return True

    def _answer(self, request: Request, answer: Answer, effect: Effect) -> None:
        failpoint("control.before-answer")
        self._desk.answer(request, answer, effect)
        failpoint("control.answered")
        self._obey(effect)
        self._worker.sweeper.wake()  # it leaves alone what a request is about
        done = {"request": request.id, "kind": request.kind, "refused": answer.refused, "answer": answer.text}
        log.info("request.done", extra=done)

    def _handled(self, request: Request) -> Outcome:
        handler = self._handlers.get(request.kind)
        if handler is None:
            return _refused(f"This version of the worker knows no {request.kind!r}.")
        try:
            return handler(request)
        except StoreUnavailable:
            raise
        except Exception as bug:
            log.exception("request.stumbled", extra={"request": request.id, "kind": request.kind})
            return stumbled(bug), NOTHING_ELSE

    def _obey(self, effect: Effect) -> None:
        """What was just committed becomes true of this process."""
        if effect.raises == DRAINING:
            self._worker.drain(leave=True)
        if effect.lowers == DRAINING:
            self._worker.resume()

    def _drain(self, request: Request) -> Outcome:
        jobs = len(self._store.live())
        left = "there are none" if not jobs else "1 is left" if jobs == 1 else f"{jobs} are left"
        text = f"No new jobs are fetched. The worker ends when its jobs have ended ({left})."
        return Answer(text, found={"jobs": jobs}), Effect(raises=DRAINING)

    def _resume(self, request: Request) -> Outcome:
        text = "The worker fetches jobs again." if self._desk.flag(DRAINING) else "The worker fetches jobs."
        return Answer(text), Effect(lowers=DRAINING)

    def _cancel(self, request: Request) -> Outcome:
        job = self._job(request)
        if job is None:
            return _refused("There is no such job.")
        sentence = cancelled(str(request.arguments.get("reason") or ""))
        if job.state in LIVE:
            self._worker.cancel(job.key, sentence)
            job = self._store.get(job.key)
        if job.state in LIVE:
            return None
        if job.state is JobState.ERROR and job.facts.detail == sentence:
            return _done_with(f"Job {job.id} is cancelled; the API is told that it failed.")
        return _refused(f"Job {job.id} has ended by itself before it could be cancelled: {job.state}.")

    def _retry_upload(self, request: Request) -> Outcome:
        job = self._job(request)
        if job is None:
            return _refused("There is no such job.")
        everything = bool(request.arguments.get("all"))
        if job.state not in LIVE:
            return self._long(request, lambda stop: self._reupload.upload(job, everything, stop))
        if job.state is not JobState.UPLOADING:
            return _refused(f"Job {job.id} has nothing to upload yet: it is {job.state}.")
        if everything:
            return self._from_the_beginning(request, job)
        self._worker.begin_step_anew(job.key)
        return _done_with(f"Job {job.id} goes on uploading at once.")

    def _from_the_beginning(self, request: Request, job: Job) -> Outcome:
        """The record is forgotten while nothing is under way: what was just uploaded would go on record."""
        said = Answer(f"Job {job.id} uploads everything again, from the beginning.")
        effect = Effect(forgets_uploads_of=job.key)
        at_work = self._worker.begin_step_anew(job.key, lambda: self._answer(request, said, effect))
        return None if at_work else (said, effect)

    def _prune(self, request: Request) -> Outcome:
        history, dry_run = request.arguments.get("history"), bool(request.arguments.get("dry_run"))
        seconds = float(history) if isinstance(history, int | float) else None

        def work(stop: StopSignal) -> Answer:
            pruned = self._pruning.prune(seconds, dry_run)
            stop.check()
            return Answer(told(pruned, dry_run), found=asdict(pruned))

        return self._long(request, work)

    def _long(self, request: Request, work: Callable[[StopSignal], Answer]) -> Outcome:
        answer = self._errands.answer(request.id, work)
        return None if answer is None else (answer, NOTHING_ELSE)

    def _job(self, request: Request) -> Job | None:
        try:
            return None if request.job_key is None else self._store.get(request.job_key)
        except LookupError:
            return None


def cancelled(reason: str) -> str:
    """What the owner of a job is told that an operator cancelled."""
    words = " ".join(reason.encode(errors="replace").decode().replace("\0", " ").split())[:LONGEST_REASON]
    return (
        f"Cancelled by the operator of the machine: {words}"
        if words
        else "Cancelled by the operator of the machine."
    )


def told(pruned: Pruned, dry_run: bool) -> str:
    """What a pruning did, as a sentence."""
    rows = sum(pruned.rows.values())
    parts = [
        f"{_count(pruned.folders, 'folder')} ({size(pruned.bytes)})",
        _count(pruned.containers, "container"),
        *([_count(rows, "row") + " of the database"] if pruned.rows else []),
    ]
    what = f"{', '.join(parts[:-1])} and {parts[-1]}"
    said = f"{'Would remove' if dry_run else 'Removed'} {what}."
    if pruned.stays:
        said += f" Could not be removed: {', '.join(pruned.stays)}."
    if pruned.engine:
        said += f" Containers were not looked for. {pruned.engine}"
    return said


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def _done_with(text: str) -> Outcome:
    return Answer(text), NOTHING_ELSE


def _refused(text: str) -> Outcome:
    return Answer(text, refused=True), NOTHING_ELSE
