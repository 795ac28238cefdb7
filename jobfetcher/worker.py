"""The worker loop: resume what is in the database, else fetch; one thread for each job at work.

A job that starts and a job that resumes are handed to the same function.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from jobfetcher.api.errors import ApiError
from jobfetcher.api.retries import Backoff
from jobfetcher.failpoints import failpoint
from jobfetcher.logs import about
from jobfetcher.reporter import Reporter
from jobfetcher.stop import StopSignal
from jobfetcher.sweeper import Sweeper
from jobfetcher.tools import JobTools
from persistence.errors import StoreUnavailable, StoreUnusable
from persistence.store import SqlStore
from states.advance import advance
from states.errors import Paused, StaleJob
from states.job import Job
from states.ports import Api, Resources
from states.spec import JobSpec
from states.table import TERMINAL

log = logging.getLogger(__name__)


def pause_backoff() -> Backoff:
    """Waits while the API or the engine is away."""
    return Backoff(first=1, factor=2, limit=60)


@dataclass(frozen=True)
class Intake:
    """How jobs are asked for."""

    api: Api
    resources: Callable[[], Resources]
    ready: Callable[[], None]
    """Raises ``Paused`` with a sentence while this machine can run nothing (engine away, disk full)."""
    period: float
    """Seconds between questions while there is nothing to do."""


@dataclass
class Worker:
    """Takes jobs on and sees each to its end. ``places`` jobs are at work at once."""

    store: SqlStore
    intake: Intake
    reporter: Reporter
    sweeper: Sweeper
    tools_for: Callable[[Job, StopSignal], JobTools]
    places: int = 1
    _stopping: threading.Event = field(default_factory=threading.Event)
    _freed: threading.Event = field(default_factory=threading.Event)
    _stops: dict[int, StopSignal] = field(default_factory=dict)
    _waiting: deque[Job] = field(default_factory=deque)
    _threads: dict[int, threading.Thread] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self) -> None:
        """Resume, then fetch until told to stop. Raises ``StoreUnusable`` if the database is lost."""
        for job in self.store.live():
            log.info("job.resumed", extra={"job_id": job.id, "state": str(job.state)})
            self._take(job)
        backoff = iter(pause_backoff())
        while not self._stopping.is_set():
            self._freed.clear()
            self.store.check_file()
            self._fill_places()
            if len(self._threads) >= self.places:
                self._freed.wait(self.intake.period)
                continue
            try:
                wait = 0.0 if self._fetch() else self.intake.period
                backoff = iter(pause_backoff())
            except (ApiError, Paused, StoreUnavailable) as error:
                wait = max(next(backoff), getattr(error, "retry_after", None) or 0.0)
                log.warning("fetch.postponed", extra={"reason": str(error), "retry_in": round(wait, 1)})
            except StoreUnusable:
                raise
            except Exception:
                wait = next(backoff)
                log.exception("fetch.stumbled", extra={"retry_in": round(wait, 1)})
            self._stopping.wait(wait)

    def stop(self) -> None:
        """Fetch no more and let every job's thread leave its step; containers go on."""
        self._stopping.set()
        self._freed.set()
        with self._lock:
            for signal in self._stops.values():
                signal.set("shutdown")

    def join(self, seconds: float) -> bool:
        """Wait for the jobs' threads. Whether all have ended."""
        for thread in list(self._threads.values()):
            thread.join(seconds / max(1, len(self._threads)))
        return not any(thread.is_alive() for thread in self._threads.values())

    def gone(self, key: int) -> None:
        """The lease of a job is gone: end at once what is done for it."""
        with self._lock:
            if signal := self._stops.get(key):
                signal.set("gone")
        self.sweeper.wake()

    def _fetch(self) -> bool:
        """Ask for one job. Whether there was one."""
        self.intake.ready()
        specs = self.intake.api.fetch_jobs(self.intake.resources(), limit=1)
        failpoint("fetch.answered")
        self._give_up_earlier(specs)
        for job in self.store.add_all(specs):
            failpoint("fetch.committed")
            log.info("job.fetched", extra={"job_id": job.id, "image": job.spec.handler.image_url})
            if job.state not in TERMINAL:
                self._take(job)
        return bool(specs)

    def _give_up_earlier(self, specs: list[JobSpec]) -> None:
        """The service gives a deleted job's id to the next one: whatever had the id before is no longer ours.

        Its 404 may have been lost on the way, and what was still to be told of it would be told of the new
        job.
        """
        for spec in specs:
            for job in self.store.find(spec.id):
                if job.spec.lease != spec.lease and not (job.gone or self.store.reported(job.key)):
                    log.warning("job.superseded", extra={"job_id": job.id, "lease": job.spec.lease})
                    self.store.mark_gone(job.key)
                    self.gone(job.key)

    def _take(self, job: Job) -> None:
        with self._lock:
            if job.key in self._stops:
                return
            self._stops[job.key] = StopSignal()
        self.reporter.watch(job)
        self._waiting.append(job)
        self._fill_places()

    def _fill_places(self) -> None:
        while self._waiting and len(self._threads) < self.places and not self._stopping.is_set():
            job = self._waiting.popleft()
            thread = threading.Thread(target=self._work, args=(job,), name=f"job-{job.id}", daemon=True)
            self._threads[job.key] = thread
            thread.start()

    def _work(self, job: Job) -> None:
        """Body of a job's thread."""
        signal = self._stops[job.key]
        try:
            with about(job_id=job.id):
                self._see_through(job, signal)
        except Exception:
            log.exception("job.thread-died", extra={"job_id": job.id})
        finally:
            self.sweeper.wake()
            with self._lock:
                del self._stops[job.key]
                del self._threads[job.key]
            self._freed.set()

    def _see_through(self, job: Job, signal: StopSignal) -> None:
        """Advance the job to its end, over as many pauses as it takes."""
        tools = self.tools_for(job, signal)
        backoff, version = iter(pause_backoff()), job.version
        while not self._stopping.is_set():
            try:
                job = self.store.get(job.key)
                if job.version != version:
                    backoff, version = iter(pause_backoff()), job.version
                job = advance(job, self.store, tools)
                log.info("job.ended", extra={"state": str(job.state), "detail": job.facts.detail[:200]})
                return
            except StaleJob:
                continue
            except (Paused, StoreUnavailable) as error:
                wait = max(next(backoff), getattr(error, "retry_after", None) or 0.0)
                log.warning("job.paused", extra={"reason": str(error), "retry_in": round(wait, 1)})
            if signal.reason == "gone":
                self._stopping.wait(min(wait, 1.0))  # the signal is set for good: it would not wait
            else:
                signal.wait(wait)
