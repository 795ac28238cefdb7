"""The worker loop: resume what is in the database, else fetch; one thread for each job at work.

A job that starts and a job that resumes are handed to the same function.
"""

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from jobfetcher.api.errors import ApiError
from jobfetcher.failpoints import failpoint
from jobfetcher.logs import about
from jobfetcher.pace import Pace, Random, pause_backoff
from jobfetcher.progress import Board
from jobfetcher.reporter import Reporter
from jobfetcher.stop import StopSignal
from jobfetcher.sweeper import Sweeper
from jobfetcher.tools import JobTools
from persistence.errors import StoreUnavailable, StoreUnusable
from persistence.store import SqlStore
from states.advance import advance, fail
from states.errors import Paused, StaleJob
from states.job import Job
from states.ports import Api, Resources
from states.spec import JobSpec
from states.table import TERMINAL

log = logging.getLogger(__name__)

LEAVING_SECONDS = 0.5
"""Time between two looks whether the last job is reported, before a worker that drains leaves."""
BEAT_SECONDS = 60.0
"""The loop comes round at least so often, however long it has to wait: others look whether it does."""


@dataclass(frozen=True)
class Intake:
    """How jobs are asked for."""

    api: Api
    resources: Callable[[], Resources | None]
    """What is free for one more job; None: nothing useful, so there is nothing to ask."""
    ready: Callable[[], None]
    """Raises ``Paused`` with a sentence while this machine can run nothing (engine away, disk full)."""
    period: float
    """Seconds between questions while there is nothing to do, at most."""
    random: Random = random.random
    """Scatters the questions of many workers."""


@dataclass
class Worker:
    """Takes jobs on and sees each to its end. ``places`` jobs are at work at once."""

    store: SqlStore
    intake: Intake
    reporter: Reporter
    sweeper: Sweeper
    tools_for: Callable[[Job, StopSignal], JobTools]
    places: int = 1
    board: Board = field(default_factory=Board)
    """Shows what is under way for each job."""
    turned_at: float = field(default_factory=time.time)
    """When the loop last came round, in seconds since the epoch."""
    _stopping: threading.Event = field(default_factory=threading.Event)
    _woken: threading.Event = field(default_factory=threading.Event)
    _draining: bool = False
    _leaving: bool = False
    _is_full: bool = False
    """At the last look nothing useful was free for one more job."""
    _stops: dict[int, StopSignal] = field(default_factory=dict)
    _firsts: dict[int, Callable[[], None]] = field(default_factory=dict)
    _waiting: deque[Job] = field(default_factory=deque)
    _threads: dict[int, threading.Thread] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self) -> None:
        """Resume, then fetch until told to stop, or until drained.

        Raises ``StoreUnusable`` if the database is lost.
        """
        for job in self.store.live():
            log.info("job.resumed", extra={"job_id": job.id, "state": str(job.state)})
            self._take(job)
        pace, asks_at = Pace(self.intake.period, self.intake.random), 0.0
        while True:
            self.turned_at = time.time()
            self._woken.clear()
            self.store.check_file()
            self._fill_places()
            if self._stopping.is_set() or self._has_drained():
                return
            if self._draining or len(self._threads) >= self.places:
                self._woken.wait(LEAVING_SECONDS if self._leaving else min(self.intake.period, BEAT_SECONDS))
            elif (wait := asks_at - time.monotonic()) > 0:
                if self._woken.wait(min(wait, BEAT_SECONDS)) and self._is_full:
                    asks_at = 0.0  # a job has ended: what it held is free
            else:
                asks_at = time.monotonic() + self._ask(pace)

    def stop(self) -> None:
        """Fetch no more and let every job's thread leave its step; containers go on."""
        self._stopping.set()
        self._woken.set()
        with self._lock:
            for signal in self._stops.values():
                signal.set("shutdown")

    def join(self, seconds: float) -> bool:
        """Wait for the jobs' threads. Whether all have ended."""
        for thread in list(self._threads.values()):
            thread.join(seconds / max(1, len(self._threads)))
        return not any(thread.is_alive() for thread in self._threads.values())

    @property
    def draining(self) -> bool:
        """It fetches nothing more until ``resume``."""
        return self._draining

    def drain(self, leave: bool) -> None:
        """Fetch nothing more. ``leave``: let ``run`` return once the API has heard of the last job's end."""
        self._draining, self._leaving = True, leave
        self._woken.set()

    def resume(self) -> None:
        """Fetch again."""
        self._draining = self._leaving = False
        self._woken.set()

    def gone(self, key: int) -> None:
        """The lease of a job is gone: end at once what is done for it."""
        with self._lock:
            if signal := self._stops.get(key):
                signal.set("gone")
        self.sweeper.wake()

    def cancel(self, key: int, sentence: str) -> None:
        """Let a live job end in ``error``, with a sentence for its owner.

        Its thread is told to leave its step. A job that has none (it waits for a place, or was not resumed
        yet) ends here and now.
        """
        with self._lock:
            if signal := self._stops.get(key):
                signal.set("cancelled", sentence)
            if key in self._threads:
                return
            self._waiting = deque(job for job in self._waiting if job.key != key)
            self._stops.pop(key, None)
        self._end(self.store.get(key), sentence)
        self._woken.set()

    def begin_step_anew(self, key: int, first: Callable[[], None] = lambda: None) -> bool:
        """Let a job leave its step, or its pause, and begin that step again at once.

        Its thread calls ``first`` in between, when nothing is under way. False if the job has no thread.
        """
        with self._lock:
            if key not in self._threads:
                return False
            self._firsts[key] = first
            self._stops[key].set("again")
            return True

    def _has_drained(self) -> bool:
        """Nothing is left to do for any job, and what ended jobs left was removed once more."""
        if not self._leaving or self._stops:
            return False
        try:
            if self.store.ended_unreported():
                return False
        except StoreUnavailable:
            return False
        self.sweeper.sweep()
        log.info("worker.drained")
        return True

    def _ask(self, pace: Pace) -> float:
        """Ask for a job. Returns the seconds until the next question."""
        try:
            return pace.answered(self._fetch())
        except (ApiError, Paused, StoreUnavailable) as error:
            wait = pace.failed(error)
            log.warning("fetch.postponed", extra={"reason": str(error), "retry_in": round(wait, 1)})
        except StoreUnusable:
            raise
        except Exception as error:
            wait = pace.failed(error)
            log.exception("fetch.stumbled", extra={"retry_in": round(wait, 1)})
        return wait

    def _fetch(self) -> bool:
        """Ask for one job. Whether there was one."""
        self.intake.ready()
        offer = self.intake.resources()
        self._is_full = offer is None
        if offer is None:
            return False
        specs = self.intake.api.fetch_jobs(offer, limit=1)
        failpoint("fetch.answered")
        self._give_up_earlier(specs)
        for job in self.store.add_all(specs) if specs else ():
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
            self._waiting.append(job)
        self.reporter.watch(job)
        self._fill_places()

    def _fill_places(self) -> None:
        with self._lock:
            while self._waiting and len(self._threads) < self.places and not self._stopping.is_set():
                job = self._waiting.popleft()
                thread = threading.Thread(target=self._work, args=(job,), name=f"job-{job.id}", daemon=True)
                self._threads[job.key] = thread
                thread.start()

    def _work(self, job: Job) -> None:
        """Body of a job's thread."""
        try:
            here = about(job_id=job.id, state=str(job.state), attempt=job.attempts)
            with here, self.board.of_job(job.key):
                self._see_through(job)
        except Exception:
            log.exception("job.thread-died", extra={"job_id": job.id})
        finally:
            self.sweeper.wake()
            with self._lock:
                del self._stops[job.key]
                del self._threads[job.key]
                self._firsts.pop(job.key, None)
            self._woken.set()

    def _see_through(self, job: Job) -> None:
        """Advance the job to its end, over as many pauses as it takes."""
        signal = self._stops[job.key]
        tools = self.tools_for(job, signal)
        backoff, version = pause_backoff(self.intake.random), job.version
        while not self._stopping.is_set():
            try:
                job = self.store.get(job.key)
                if job.version != version:
                    backoff, version = pause_backoff(self.intake.random), job.version
                job = advance(job, self.store, tools)
                log.info("job.ended", extra={"state": str(job.state), "detail": job.facts.detail[:200]})
                return
            except StaleJob:
                continue
            except (Paused, StoreUnavailable) as error:
                wait = max(next(backoff), getattr(error, "retry_after", None) or 0.0)
                log.warning("job.paused", extra={"reason": str(error), "retry_in": round(wait, 1)})
            if signal.reason == "again":
                signal = self._anew(job.key)
                tools = self.tools_for(job, signal)
            elif signal.is_set():
                self._stopping.wait(min(wait, 1.0))  # the signal is set for good: it would not wait
            else:
                signal.wait(wait)

    def _anew(self, key: int) -> StopSignal:
        """A fresh signal, if the job is to begin its step anew and there is no stronger word by now."""
        with self._lock:
            first = self._firsts.pop(key, None)
        if first is not None:
            try:
                first()
            except Exception:
                log.warning("job.not-begun-anew", exc_info=True)
        with self._lock:
            if self._stops[key].reason == "again":
                self._stops[key] = StopSignal()
            return self._stops[key]

    def _end(self, job: Job, sentence: str) -> None:
        """End a job that nobody works for. Quiet where it has ended, or moves at this moment."""
        if job.state in TERMINAL:
            return
        with about(job_id=job.id, state=str(job.state), attempt=job.attempts), suppress(StaleJob):
            job = fail(job, self.store, sentence)
            log.info("job.ended", extra={"state": str(job.state), "detail": job.facts.detail[:200]})
        self.sweeper.wake()
