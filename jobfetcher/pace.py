"""How long a worker waits before it asks for jobs again.

Thousands of workers may start at the same instant after a power cut, or lose the API at the same instant:
whatever they do next must not be done in step.
"""

import random
from collections.abc import Callable, Iterator

from jobfetcher.api.retries import Backoff, asked_to_wait

Random = Callable[[], float]
"""A number from 0 up to, but not including, 1."""
JITTER = 0.1
"""The largest share by which a wait is shorter than the setting says."""


def pause_backoff(random: Random = random.random) -> Backoff:
    """Waits of a job while the API or the engine is away.

    After each comes all that the outage has held up, and the next job: a dozen requests.
    """
    return Backoff(first=1, factor=2, limit=150, random=random)


def poll_backoff(random: Random = random.random) -> Backoff:
    """Waits between questions for jobs while they fail."""
    return Backoff(first=1, factor=2, limit=60, random=random)


class Rhythm:
    """Endless waits in seconds: the first anywhere within ``period``, the others ``period`` less some jitter.

    The first alone scatters what started at the same instant; ``jitter``, the largest share taken off
    each of the others, keeps it scattered. No wait is longer than ``period``.
    """

    def __init__(self, period: float, jitter: float = JITTER, random: Random = random.random) -> None:
        self._period = period
        self._jitter = jitter
        self._random = random
        self._share = 1.0

    def __iter__(self) -> Iterator[float]:
        return self

    def __next__(self) -> float:
        wait = self._period * (1 - self._share * self._random())
        self._share = self._jitter
        return wait


class Pace:
    """The waits between questions for jobs. ``period``: seconds between two while there are none."""

    def __init__(self, period: float, random: Random = random.random) -> None:
        self._rhythm = Rhythm(period, random=random)
        self._backoff = poll_backoff(random)

    def answered(self, found: bool) -> float:
        """Seconds to wait after an answer; none if there was a job: there may be another."""
        self._backoff.reset()
        return 0.0 if found else next(self._rhythm)

    def failed(self, error: Exception) -> float:
        """Seconds to wait after a question that failed; at least what the API asked for."""
        return max(next(self._backoff), asked_to_wait(error))
