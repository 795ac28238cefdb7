"""How far apart a worker's questions are, and that thousands of workers do not ask in step."""

from itertools import islice

from jobfetcher.api.errors import TooManyRequests, Unreachable
from jobfetcher.pace import Pace, Rhythm


def least() -> float:
    return 0.0


def most() -> float:
    return 1.0


def test_only_the_first_wait_may_be_anything() -> None:
    """The first lies anywhere within the period, each of the others at most a tenth below it."""
    longest = list(islice(Rhythm(10, random=least), 3))
    shortest = list(islice(Rhythm(10, random=most), 3))

    assert [10, 10, 10] == longest
    assert [0, 9, 9] == shortest


def test_after_a_job_the_next_is_asked_for_at_once() -> None:
    """There may be more in the queue; only an empty answer is waited after."""
    pace = Pace(10, random=least)

    assert [0, 10, 0, 10] == [pace.answered(found) for found in (True, False, True, False)]


def test_failures_are_spaced_wider_and_wider() -> None:
    """Waits double up to a minute, and begin again after an answer."""
    pace = Pace(10, random=least)
    away = Unreachable("GET /jobs", "connection refused", sent=False)

    waits = [pace.failed(away) for _ in range(8)]
    pace.answered(False)

    assert [1, 2, 4, 8, 16, 32, 60, 60] == waits
    assert 1 == pace.failed(away)


def test_no_question_comes_before_the_api_wants_it() -> None:
    """``Retry-After`` is the least wait."""
    busy = TooManyRequests("GET /jobs", 429, retry_after=25)

    assert 25 == Pace(10, random=least).failed(busy)
