"""The policy: what is tried again, how often, how long apart, and how it ends."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from typing import Any

import pytest

from jobfetcher.api.errors import (
    ApiError,
    Forbidden,
    Invalid,
    NotFound,
    NotJson,
    ServerError,
    TooManyRequests,
    Unauthorized,
    Unreachable,
    WrongShape,
    excerpt,
)
from jobfetcher.api.retries import NEVER, Backoff, Policy, RetryingApi
from states.errors import Paused
from states.job import ApiStatus
from states.ports import FileRequest, Resources
from states.spec import FileType, JobSpec

HERE = Resources(memory=1)
FILE = FileRequest(method="get", url="http://x")


class FakeApi:
    """Raises the planned errors, one per call, then answers."""

    def __init__(self, *planned: ApiError) -> None:
        self._planned = list(planned)
        self.calls = 0

    def _answer(self) -> None:
        self.calls += 1
        if self._planned:
            raise self._planned.pop(0)

    def fetch_jobs(self, resources: Resources, limit: int = 1) -> list[JobSpec]:
        self._answer()
        return []

    def put_status(self, job_id: str, status: ApiStatus, detail: str = "") -> None:
        self._answer()

    def job_status(self, job_id: str) -> str:
        self._answer()
        return "running"

    def download_request(self, file_id: str) -> FileRequest:
        self._answer()
        return FILE

    def upload_request(self, job_id: str, kind: FileType, base_path: str) -> FileRequest:
        self._answer()
        return FILE


class FakeStop:
    """Sleeps in no time and notes for how long; set after some sleeps, if told so."""

    def __init__(self, after: int = 10**9) -> None:
        self.slept: list[float] = []
        self._after = after

    def is_set(self) -> bool:
        return len(self.slept) >= self._after

    def wait(self, seconds: float) -> bool:
        self.slept.append(seconds)
        return self.is_set()

    def check(self) -> None:
        if self.is_set():
            raise Paused("The worker is stopping.")

    def interrupts(self, callback: Callable[[], None]) -> AbstractContextManager[None]:
        return nullcontext()


EXACT = Policy(tries=4, first=1, factor=2, limit=3, jitter=0)
LATER = [
    pytest.param(ServerError("GET", 503), id="5xx"),
    pytest.param(TooManyRequests("GET", 429), id="429"),
    pytest.param(Unreachable("GET", "gone", sent=True), id="unreachable"),
    pytest.param(NotJson("GET", 200, "<html>"), id="a sign-in page"),
]
READS: list[Callable[[RetryingApi], Any]] = [
    lambda api: api.job_status("1"),
    lambda api: api.download_request("f"),
    lambda api: api.upload_request("1", FileType.LOG, ""),
]


def test_delays_grow_to_their_limit() -> None:
    """Each delay is ``factor`` times the last, never beyond the limit; ``reset`` begins anew."""
    backoff = Backoff(first=1, factor=3, limit=10, jitter=0)
    first = list(islice(backoff, 4))
    backoff.reset()

    assert (first, next(backoff)) == ([1, 3, 9, 10], 1)


def test_jitter_only_shortens() -> None:
    """The largest share taken off is ``jitter``; the course of the delays stays."""
    low = Backoff(first=2, factor=2, limit=100, jitter=0.5, random=lambda: 1.0)
    high = Backoff(first=2, factor=2, limit=100, jitter=0.5, random=lambda: 0.0)

    assert (list(islice(low, 3)), list(islice(high, 3))) == ([1, 2, 4], [2, 4, 8])


def test_the_limit_holds_for_ever() -> None:
    """Ten thousand failures in a row do not overflow."""
    assert next(islice(Backoff(limit=60, jitter=0), 10_000, None)) == 60


@pytest.mark.parametrize("error", LATER)
@pytest.mark.parametrize("call", READS)
def test_what_may_succeed_later_is_tried_again(error: ApiError, call: Callable[[RetryingApi], Any]) -> None:
    """Delays grow between the tries, and the answer comes through."""
    stop, api = FakeStop(), FakeApi(error, error, error)
    call(RetryingApi(api, EXACT, stop))

    assert (api.calls, stop.slept) == (4, [1, 2, 3])


@pytest.mark.parametrize("error", LATER)
def test_used_up_tries_pause(error: ApiError) -> None:
    """The caller is told to try later, in the words of the last error."""
    stop, api = FakeStop(), FakeApi(*[error] * 9)
    with pytest.raises(Paused) as caught:
        RetryingApi(api, EXACT, stop).job_status("1")

    assert (api.calls, len(stop.slept), str(caught.value)) == (4, 3, str(error))


@pytest.mark.parametrize(
    "error",
    [NotFound("GET", 404), Invalid("GET", 422), WrongShape("GET", 200)],
    ids=lambda error: type(error).__name__,
)
def test_what_never_succeeds_is_not_tried_again(error: ApiError) -> None:
    """It reaches the caller as it is."""
    api = FakeApi(error)
    with pytest.raises(type(error)):
        RetryingApi(api, EXACT, FakeStop()).download_request("f")

    assert api.calls == 1


@pytest.mark.parametrize("error", [Unauthorized("GET", 401), Forbidden("GET", 403)])
def test_a_refused_login_pauses_at_once(error: ApiError) -> None:
    """It is the worker's fault, not the job's."""
    api = FakeApi(error)
    with pytest.raises(Paused):
        RetryingApi(api, EXACT, FakeStop()).job_status("1")

    assert api.calls == 1


def test_retry_after_is_kept_to() -> None:
    """A wait that is asked for is kept; one beyond all patience is left to the caller."""
    stop = FakeStop()
    RetryingApi(FakeApi(TooManyRequests("GET", 429, retry_after=50)), EXACT, stop).job_status("1")
    with pytest.raises(Paused) as caught:
        RetryingApi(FakeApi(TooManyRequests("GET", 429, retry_after=900)), EXACT, stop).job_status("1")

    assert (stop.slept, caught.value.retry_after) == ([50], 900)


@pytest.mark.parametrize(
    ("error", "calls"),
    [
        pytest.param(Unreachable("GET", "refused", sent=False), 2, id="surely not sent"),
        pytest.param(TooManyRequests("GET", 429), 2, id="refused unread"),
        pytest.param(Unreachable("GET", "broken", sent=True), 1, id="perhaps sent"),
        pytest.param(ServerError("GET", 500), 1, id="500: the job is pulled already"),
        pytest.param(NotJson("GET", 200), 1, id="no JSON"),
    ],
)
@pytest.mark.row(1)
def test_jobs_are_fetched_again_only_if_nothing_was_sent(error: ApiError, calls: int) -> None:
    """A blind repetition would burn a queued job."""
    api = FakeApi(error)
    retrying = RetryingApi(api, EXACT, FakeStop())
    if calls == 1:
        with pytest.raises(Paused):
            retrying.fetch_jobs(HERE)
    else:
        retrying.fetch_jobs(HERE)

    assert api.calls == calls


def test_a_status_is_never_repeated_here() -> None:
    """Who reports has a queue of its own, and hears the error itself."""
    api = FakeApi(ServerError("PUT", 500))
    with pytest.raises(ServerError):
        RetryingApi(api, EXACT, FakeStop()).put_status("1", ApiStatus.RUNNING)

    assert api.calls == 1


def test_a_stop_ends_the_waiting() -> None:
    """No further try is made once the worker is told to stop."""
    api = FakeApi(*[ServerError("GET", 500)] * 9)
    with pytest.raises(Paused, match="stopping"):
        RetryingApi(api, EXACT, FakeStop(after=2)).job_status("1")

    assert api.calls == 2


def test_retries_are_not_nested() -> None:
    """Retries over retries keep the policy and take the new stop."""
    stop, api = FakeStop(), FakeApi(*[ServerError("GET", 500)] * 99)
    with pytest.raises(Paused):
        RetryingApi.over(RetryingApi(api, EXACT), None, stop).job_status("1")

    assert (api.calls, len(stop.slept)) == (4, 3)


def test_the_stop_that_never_comes() -> None:
    """Callers without a stop get one that sleeps and is never set."""
    called: list[int] = []
    with NEVER.interrupts(lambda: called.append(1)):
        NEVER.check()

    assert (NEVER.wait(0), NEVER.is_set(), called) == (False, False, [])


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        pytest.param("a\n  b\x00c", "a b c", id="one line"),
        pytest.param("x" * 999, "x" * 199 + "…", id="short"),
        pytest.param("at https://s3/b/k?X-Amz-Signature=abc, no", "at https://s3/b/k?… no", id="query"),
        pytest.param("Bearer abc.def", "…", id="bearer"),
        pytest.param("token eyJhbGciOi.eyJzdWI.sig!", "token …!", id="JWT"),
    ],
)
def test_excerpts_tell_no_secrets(body: str, shown: str) -> None:
    """What of an answer's body goes into messages is short, on one line, and without credentials."""
    assert excerpt(body) == shown
