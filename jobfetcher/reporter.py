"""Tells the API what happened: the outbox in order, and keep-alives while there is nothing to tell.

One thread for all jobs. It never moves a job: it reads the outbox, marks what is acknowledged, and at
the first 404 makes it durable that the lease is gone. Jobs and reporter meet in the database and in
one stop signal per job.
"""

import logging
import math
import random
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass

from jobfetcher.api.errors import ApiError, Invalid, NotFound, ServerError, TooManyRequests
from jobfetcher.api.retries import Backoff
from jobfetcher.failpoints import failpoint
from jobfetcher.logs import about
from jobfetcher.pace import Random, Rhythm
from persistence.errors import StoreUnavailable, StoreUnusable
from persistence.store import SqlStore
from states.errors import JobGone
from states.job import ApiStatus, Job, StatusUpdate
from states.ports import Api, Stop
from states.table import TERMINAL

log = logging.getLogger(__name__)

ASK_AFTER = 3
"""Consecutive 5xx answers for one job after which its status is asked for: for a job that was deleted
the API answers PUT with 500 for ever, and only ``GET status`` says 404."""
CATCH_UP_SECONDS = 0.5
"""How long it may take until it is on disk that the API has heard a status which more will follow."""
BEAT_SECONDS = 60.0
"""The thread comes round at least so often, however long it has to wait: others look whether it does."""


def status_backoff(random: Random = random.random) -> Backoff:
    """Waits between attempts to send: the service's own restarts take seconds, its outages minutes."""
    return Backoff(first=0.5, factor=2, limit=30, random=random)


@dataclass
class _Line:
    """What the reporter remembers of one job. Times are of its clock."""

    job_id: str
    rhythm: Rhythm
    """Seconds from one keep-alive to the next."""
    backoff: Backoff
    keep_alive_at: float | None = None
    """When to send the last status again; None: the job has ended."""
    retry_at: float = 0.0
    failures: int = 0


class Reporter:
    """``interval``: seconds between keep-alives, at most; ``random`` scatters those of many workers.

    ``on_gone(key)`` is called after a 404 was made durable, ``on_reported()`` after a terminal status
    was acknowledged. Implements ``states.ports.Lease``.
    """

    def __init__(
        self,
        api: Api,
        store: SqlStore,
        interval: float,
        on_gone: Callable[[int], None],
        on_reported: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
        random: Random = random.random,
    ) -> None:
        self._api = api
        self._store = store
        self._interval = interval
        self._on_gone = on_gone
        self._on_reported = on_reported
        self._clock = clock
        self._random = random
        self._lines: dict[int, _Line] = {}
        self._confirmed: set[int] = set()
        self._catch_up_at = math.inf
        self.turned_at = time.time()
        """When the thread last came round, in seconds since the epoch."""
        self._changed = threading.Condition()
        self._woken = False
        self._stopping = False

    def watch(self, job: Job) -> None:
        """Keep the job alive from now on. The first keep-alive is due at once: it asks whether the job
        is still ours."""
        with self._changed:
            self._line(job.key, job.id).keep_alive_at = self._clock()
        self.wake()

    def wake(self) -> None:
        """There may be something to send."""
        with self._changed:
            self._woken = True
            self._changed.notify_all()

    def stop(self) -> None:
        """Let ``run`` return after the request in flight."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()

    def confirm(self, job: Job, stop: Stop) -> None:
        """Return once the API has acknowledged this job since this process started."""
        with stop.interrupts(self.wake), self._changed:
            while job.key not in self._confirmed:
                stop.check()
                if self._store.get(job.key).gone:
                    raise JobGone("The API no longer knows the job as ours.")
                self._changed.wait(timeout=30)
        stop.check()

    def confirmed(self, job: Job) -> bool:
        """Whether the API has acknowledged this job since this process started."""
        return job.key in self._confirmed

    def run(self) -> None:
        """Body of the reporter's thread."""
        while not self._stopping:
            self.turned_at = time.time()
            try:
                wait = self.turn()
            except StoreUnavailable as error:
                log.error("reporter.store-unavailable", extra={"error": str(error)})
                wait = 5.0
            with self._changed:
                if not self._woken and not self._stopping:
                    self._changed.wait(timeout=min(wait, BEAT_SECONDS))
                self._woken = False
        with suppress(StoreUnavailable, StoreUnusable):
            self._store.catch_up()

    def turn(self) -> float:
        """Send what is due. Returns the seconds until something is due again."""
        unsent = {update.job_key: update for update in self._store.unsent()}
        left = {key for key, update in unsent.items() if not self._send(update)}
        for key, line in list(self._lines.items()):
            if key not in unsent and line.keep_alive_at is not None:
                self._keep_alive(key, line)
        if self._catch_up_at <= self._clock():
            self._store.catch_up()
        if any(update.followed and key not in left for key, update in unsent.items()):
            return 0.0
        return self._seconds_to_next(left)

    def _seconds_to_next(self, unsent: set[int]) -> float:
        now = self._clock()
        self._catch_up_at = self._catch_up_at if self._store.is_behind else math.inf
        due = [self._line(key).retry_at for key in unsent if key in self._lines]
        due += [
            max(line.keep_alive_at, line.retry_at)
            for key, line in self._lines.items()
            if line.keep_alive_at is not None and key not in unsent
        ]
        return max(0.0, min(*due, self._catch_up_at, now + self._interval) - now)

    def _line(self, key: int, job_id: str = "") -> _Line:
        with self._changed:
            if key not in self._lines:
                rhythm = Rhythm(self._interval, random=self._random)
                self._lines[key] = _Line(job_id, rhythm, status_backoff(self._random))
            return self._lines[key]

    def _send(self, update: StatusUpdate) -> bool:
        """Whether the API has acknowledged it."""
        line = self._line(update.job_key, update.job_id)
        if line.retry_at > self._clock():
            return False
        with about(job_id=update.job_id):
            return self._tell(update, line)

    def _tell(self, update: StatusUpdate, line: _Line) -> bool:
        failpoint(f"report.before-{update.status}")
        if not self._put(update.job_key, line, update.status, update.detail):
            return False
        failpoint(f"report.after-{update.status}")
        self._mark(update)
        log.info("status.reported", extra={"job_id": update.job_id, "status": str(update.status)})
        self._acknowledged(update.job_key, line)
        if _is_last(update):
            self._forget(update.job_key)
            self._on_reported()
        return True

    def _mark(self, update: StatusUpdate) -> None:
        """Only the last one may not be heard twice. Marks of the others go along with their job's next write,
        if there is one soon."""
        if _is_last(update):
            self._store.mark_sent(update)
        else:
            self._store.acknowledged(update)
            self._catch_up_at = min(self._catch_up_at, self._clock() + CATCH_UP_SECONDS)

    def _keep_alive(self, key: int, line: _Line) -> None:
        if max(line.keep_alive_at or 0.0, line.retry_at) > self._clock():
            return
        job = self._store.get(key)
        if job.gone or job.state in TERMINAL:
            line.keep_alive_at = None
        elif self._store.next_unsent(key) is not None:
            return  # it has moved since this turn began: the next one tells
        else:
            with _about(job):
                self._say_again(job, line)

    def _say_again(self, job: Job, line: _Line) -> None:
        if self._put(job.key, line, job.told, ""):
            log.debug("status.kept-alive", extra={"status": str(job.told)})
            self._acknowledged(job.key, line)

    def _put(self, key: int, line: _Line, status: ApiStatus, detail: str) -> bool:
        """Whether the API has acknowledged. A 404 and repeated 500s are dealt with here."""
        self.turned_at = time.time()  # a turn may be many requests, each as slow as a time-out
        try:
            self._api.put_status(line.job_id, status, detail)
        except (NotFound, Invalid) as error:
            self._gone(key, line, error)
            return False
        except ApiError as error:
            self._failed(key, line, error)
            return False
        return True

    def _acknowledged(self, key: int, line: _Line) -> None:
        with self._changed:
            line.failures, line.retry_at = 0, 0.0
            line.backoff.reset()
            if line.keep_alive_at is not None:
                line.keep_alive_at = self._clock() + next(line.rhythm)
            self._confirmed.add(key)
            self._changed.notify_all()

    def _failed(self, key: int, line: _Line, error: ApiError) -> None:
        line.failures += 1
        wait = next(line.backoff)
        if isinstance(error, TooManyRequests) and error.retry_after is not None:
            wait = max(wait, error.retry_after)
        line.retry_at = self._clock() + wait
        log.warning(
            "status.not-reported",
            extra={"job_id": line.job_id, "error": str(error), "retry_in": round(wait, 1)},
        )
        if isinstance(error, ServerError) and line.failures % ASK_AFTER == 0:
            self._ask(key, line)

    def _ask(self, key: int, line: _Line) -> None:
        try:
            self._api.job_status(line.job_id)
        except NotFound as error:
            self._gone(key, line, error)
        except ApiError:
            return

    def _gone(self, key: int, line: _Line, error: ApiError) -> None:
        failpoint("report.gone-seen")
        self._store.mark_gone(key)
        log.warning("job.gone", extra={"job_id": line.job_id, "error": str(error)})
        self._forget(key)
        self._on_gone(key)
        with self._changed:
            self._changed.notify_all()

    def _forget(self, key: int) -> None:
        with self._changed:
            self._lines.pop(key, None)
            self._confirmed.discard(key)


def _is_last(update: StatusUpdate) -> bool:
    return update.status.rank == ApiStatus.FINISHED.rank


def _about(job: Job) -> AbstractContextManager[None]:
    """Within the block, what is logged says whose status it is about."""
    return about(job_id=job.id, state=str(job.state), attempt=job.attempts)
