"""Which answers are worth a retry, and how retries are spaced. The one place with such a policy."""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Self, TypeVar

from jobfetcher.api.errors import (
    ApiError,
    Forbidden,
    NotJson,
    ServerError,
    TooManyRequests,
    Unauthorized,
    Unreachable,
)
from states.errors import Paused
from states.job import ApiStatus
from states.ports import Api, FileRequest, Resources, Stop
from states.spec import FileType, JobSpec

T = TypeVar("T")

LATER = (ServerError, TooManyRequests, Unreachable, NotJson)
"""What may succeed later. ``NotJson``: a proxy or a sign-in page speaks for the API just now."""
NOT_LET_IN = (Unauthorized, Forbidden)
"""Our login, not the job, is at fault: no retry helps, but the job must not pay for it."""


class _Never:
    """A ``Stop`` that is never set, for callers that do not need one."""

    def is_set(self) -> bool:
        return False

    def wait(self, seconds: float) -> bool:
        time.sleep(seconds)
        return False

    def check(self) -> None:
        return None

    def interrupts(self, callback: Callable[[], None]) -> AbstractContextManager[None]:
        return nullcontext()


NEVER: Stop = _Never()


class Backoff:
    """Endless delays in seconds: each ``factor`` times the last up to ``limit``, less some jitter.

    ``jitter`` is the largest share taken off, so that workers do not come back all at once.
    """

    def __init__(
        self,
        first: float = 1.0,
        factor: float = 2.0,
        limit: float = 60.0,
        jitter: float = 0.5,
        random: Callable[[], float] = random.random,
    ) -> None:
        self._first = first
        self._factor = factor
        self._limit = limit
        self._jitter = jitter
        self._random = random
        self._next = first

    def __iter__(self) -> Iterator[float]:
        return self

    def __next__(self) -> float:
        delay = min(self._next, self._limit)
        self._next = min(self._next * self._factor, self._limit)
        return delay * (1 - self._jitter * self._random())

    def reset(self) -> None:
        """Begin again with the first delay: it went well in between."""
        self._next = self._first


@dataclass(frozen=True)
class Policy:
    """How often one call is tried, and the delays between in seconds."""

    tries: int = 4
    """They repeat within each try of a job, whose own waits are longer: more of them would make the herd
    after an outage larger."""
    first: float = 1.0
    factor: float = 2.0
    limit: float = 30.0
    jitter: float = 0.5
    longest_wait: float = 120.0
    """A ``Retry-After`` beyond this is left to whoever catches ``Paused``."""

    def backoff(self) -> Backoff:
        return Backoff(self.first, self.factor, self.limit, self.jitter)


def asked_to_wait(error: Exception) -> float:
    """Seconds that the API asked for, or 0."""
    return getattr(error, "retry_after", None) or 0.0


class RetryingApi:
    """An ``Api`` that tries again what may succeed later, and raises ``Paused`` when that is used up.

    Two calls are never repeated: ``fetch_jobs`` once it may have been sent (it takes a job out of the
    queue), and ``put_status`` (who reports has a queue of its own).
    """

    def __init__(self, api: Api, policy: Policy | None = None, stop: Stop = NEVER) -> None:
        self._api = api
        self._policy = policy or Policy()
        self._stop = stop

    @classmethod
    def over(cls, api: Api, policy: Policy | None, stop: Stop) -> Self:
        """``api`` with retries that end with ``stop``; retries that it has already are not nested."""
        if isinstance(api, RetryingApi):
            return cls(api.bare, policy or api.policy, stop)
        return cls(api, policy, stop)

    @property
    def bare(self) -> Api:
        """The API without retries."""
        return self._api

    @property
    def policy(self) -> Policy:
        return self._policy

    def fetch_jobs(self, resources: Resources, limit: int = 1) -> list[JobSpec]:
        return self._try(lambda: self._api.fetch_jobs(resources, limit), _surely_unsent)

    def put_status(self, job_id: str, status: ApiStatus, detail: str = "") -> None:
        self._api.put_status(job_id, status, detail)

    def job_status(self, job_id: str) -> str:
        return self._try(lambda: self._api.job_status(job_id))

    def download_request(self, file_id: str) -> FileRequest:
        return self._try(lambda: self._api.download_request(file_id))

    def upload_request(self, job_id: str, kind: FileType, base_path: str) -> FileRequest:
        return self._try(lambda: self._api.upload_request(job_id, kind, base_path))

    def _try(self, call: Callable[[], T], harmless: Callable[[ApiError], bool] = lambda _: True) -> T:
        delays = self._policy.backoff()
        for left in reversed(range(self._policy.tries)):
            self._stop.check()
            try:
                return call()
            except NOT_LET_IN as error:
                raise Paused(str(error)) from error
            except LATER as error:
                wanted = asked_to_wait(error)
                if not left or not harmless(error) or wanted > self._policy.longest_wait:
                    raise Paused(str(error), wanted or None) from error
                pause(self._stop, max(next(delays), wanted))
        raise ValueError("A policy needs at least one try.")


def _surely_unsent(error: ApiError) -> bool:
    return isinstance(error, TooManyRequests) or (isinstance(error, Unreachable) and not error.sent)


def pause(stop: Stop, seconds: float) -> None:
    """Sleep; leave with the stop's error as soon as it is set."""
    if stop.wait(seconds):
        stop.check()
