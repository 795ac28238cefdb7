"""The reporter: every status once and in order, keep-alives between, and what a 404 means."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jobfetcher.api.errors import ApiError, NotFound, ServerError, TooManyRequests, Unreachable
from jobfetcher.reporter import ASK_AFTER, CATCH_UP_SECONDS, Reporter
from jobfetcher.stop import StopSignal
from persistence.errors import StoreUnavailable
from persistence.store import SqlStore
from states.errors import JobGone, Paused
from states.job import ApiStatus, Job, Trigger
from states.machine import fire
from states.spec import JobSpec

RAW = {
    "app": {},
    "handler": {"image_url": "x"},
    "meta": {"job_id": 1, "date_created": "today"},
    "hardware": {},
}


class FakeApi:
    """Records what it is told; ``answers`` are raised first, one per call."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, str, str]] = []
        self.answers: list[ApiError] = []
        self.asked: list[str] = []
        self.known = True
        self.on_put: Callable[[], object] = lambda: None

    def put_status(self, job_id: str, status: ApiStatus, detail: str = "") -> None:
        self.on_put()
        if self.answers:
            raise self.answers.pop(0)
        self.heard.append((job_id, status.value, detail))

    def job_status(self, job_id: str) -> str:
        self.asked.append(job_id)
        if not self.known:
            raise NotFound("GET status", 404)
        return "running"


class Clock:
    """Stands still until told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlStore]:
    with SqlStore(f"sqlite:///{tmp_path}/jobs.db", "w") as opened:
        yield opened


@pytest.fixture
def api() -> FakeApi:
    return FakeApi()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def gone() -> list[int]:
    return []


@pytest.fixture
def reporter(store: SqlStore, api: FakeApi, clock: Clock, gone: list[int]) -> Reporter:
    return Reporter(api, store, 10, gone.append, clock=clock)  # type: ignore[arg-type]  # half an Api is enough


def moved(store: SqlStore, job: Job, *triggers: Trigger) -> Job:
    for trigger in triggers:
        job = store.commit(job, fire(job, trigger), trigger)
    return job


def on_disk(store: SqlStore) -> list[str]:
    """The statuses that another process sees as sent."""
    with SqlStore(f"sqlite:///{store.path}", "w") as other:
        return [row.status for row in other.outbox(1) if row.sent_at is not None]


def statuses(api: FakeApi) -> list[str]:
    return [status for _, status, _ in api.heard]


def test_statuses_are_sent_once_and_in_order(store: SqlStore, api: FakeApi, reporter: Reporter) -> None:
    """Moves made faster than the API answers arrive one by one, each once."""
    job = store.add(JobSpec.parse("7", RAW))
    reporter.watch(job)
    moved(store, job, Trigger.ACCEPTED, Trigger.DOWNLOADED, Trigger.EXITED)

    for _ in range(6):
        reporter.turn()

    assert statuses(api) == ["preprocessing", "running", "postprocessing"]


def test_a_mark_goes_along_with_the_next_write(
    store: SqlStore, api: FakeApi, reporter: Reporter, clock: Clock
) -> None:
    """That of the last status is on disk at once, any other half a second later at the latest."""
    job = store.add(JobSpec.parse("7", RAW))
    reporter.watch(job)
    waits, seen = [reporter.turn()], [on_disk(store)]
    clock.now += waits[-1]
    waits.append(reporter.turn())
    seen.append(on_disk(store))
    job = moved(store, job, Trigger.ACCEPTED, Trigger.DOWNLOADED)
    reporter.turn()
    moved(store, job, Trigger.FAILED)
    seen.append(on_disk(store))
    reporter.turn()
    seen.append(on_disk(store))

    assert waits[0] == CATCH_UP_SECONDS < waits[1]
    assert seen == [
        [],
        ["preprocessing"],
        ["preprocessing", "running"],
        ["preprocessing", "running", "error"],
    ]


def test_nothing_is_told_before_the_mark_of_what_came_before_it(
    store: SqlStore, api: FakeApi, reporter: Reporter
) -> None:
    """Else the next life would tell it again after what followed it. What waits behind it is due at once."""
    job = store.add(JobSpec.parse("7", RAW))
    reporter.watch(job)
    moved(store, job, Trigger.ACCEPTED, Trigger.DOWNLOADED)
    seen: list[list[str]] = []
    api.on_put = lambda: seen.append(on_disk(store))
    wait = reporter.turn()
    reporter.turn()

    assert (wait, statuses(api), seen) == (0.0, ["preprocessing", "running"], [[], ["preprocessing"]])


def test_keep_alives_go_on_while_marks_cannot_be_written(tmp_path: Path, api: FakeApi, clock: Clock) -> None:
    """A full disk keeps nobody's job from being kept alive."""

    class Full(SqlStore):
        def catch_up(self) -> None:
            raise StoreUnavailable("The disk is full.")

    with Full(f"sqlite:///{tmp_path}/jobs.db", "w") as store:
        reporter = Reporter(api, store, 10, lambda _: None, clock=clock)  # type: ignore[arg-type]  # half an Api
        for number in ("7", "8"):
            raw = {**RAW, "meta": {"job_id": number, "date_created": "today"}}
            reporter.watch(store.add(JobSpec.parse(number, raw)))
        reporter.turn()
        clock.now += 10
        with pytest.raises(StoreUnavailable):
            reporter.turn()

    assert [job for job, _, _ in api.heard] == ["7", "8", "7", "8"]


def test_keep_alives_repeat_the_last_status_without_detail(
    store: SqlStore, api: FakeApi, reporter: Reporter, clock: Clock
) -> None:
    """Every interval the last status goes out again, and only while nothing is unsent."""
    reporter.watch(store.add(JobSpec.parse("7", RAW)))
    reporter.turn()
    for _ in range(3):
        reporter.turn()
        clock.now += 10

    reporter.turn()

    assert api.heard == [("7", "preprocessing", "")] * 4


def test_a_resumed_job_is_asked_for_at_once(store: SqlStore, api: FakeApi, reporter: Reporter) -> None:
    """After a restart the reporter speaks first, though everything was acknowledged before."""
    job = moved(store, store.add(JobSpec.parse("7", RAW)), Trigger.ACCEPTED)
    store.mark_sent(store.unsent()[0])

    reporter.watch(job)
    reporter.turn()

    assert statuses(api) == ["preprocessing"]


def test_the_end_is_told_with_its_detail_and_ends_the_keep_alives(
    store: SqlStore, api: FakeApi, reporter: Reporter, clock: Clock
) -> None:
    """The terminal status carries the detail; after it nothing is sent."""
    job = store.add(JobSpec.parse("7", RAW))
    reporter.watch(job)
    reporter.turn()
    moved(store, job.with_facts(detail="No such image."), Trigger.FAILED)
    reporter.turn()
    clock.now += 100
    reporter.turn()

    assert api.heard == [("7", "preprocessing", ""), ("7", "error", "No such image.")]


@pytest.mark.row(37, 58)
def test_an_outage_loses_nothing(store: SqlStore, api: FakeApi, reporter: Reporter, clock: Clock) -> None:
    """While the API is away updates wait, with growing pauses; then they arrive in order."""
    job = store.add(JobSpec.parse("7", RAW))
    reporter.watch(job)
    api.answers = [Unreachable("PUT", "refused", sent=False) for _ in range(5)]
    waits = [reporter.turn()]
    moved(store, job, Trigger.ACCEPTED, Trigger.DOWNLOADED)
    while api.answers:
        clock.now += waits[-1]
        waits.append(reporter.turn())
    for _ in range(3):
        clock.now += 30
        reporter.turn()

    assert waits[3] > waits[0]
    assert statuses(api)[:2] == ["preprocessing", "running"]


def test_retry_after_is_obeyed(store: SqlStore, api: FakeApi, reporter: Reporter, clock: Clock) -> None:
    """A 429 with Retry-After: nothing is sent before that time."""
    reporter.watch(store.add(JobSpec.parse("7", RAW)))
    api.answers = [TooManyRequests("PUT", 429, "", retry_after=25)]
    reporter.turn()
    clock.now += 24
    reporter.turn()
    before = list(api.heard)
    clock.now += 2
    reporter.turn()

    assert before == []
    assert statuses(api) == ["preprocessing"]


def test_the_first_404_is_durable_and_the_last_word(
    store: SqlStore, api: FakeApi, reporter: Reporter, gone: list[int], clock: Clock
) -> None:
    """A 404 marks the lease as gone, wakes the job, and no PUT follows, whatever the job still does."""
    job = store.add(JobSpec.parse("7", RAW))
    reporter.watch(job)
    api.answers = [NotFound("PUT", 404)]
    reporter.turn()
    moved(store, job, Trigger.ACCEPTED, Trigger.DOWNLOADED, Trigger.FAILED)
    clock.now += 100
    reporter.turn()

    assert api.heard == []
    assert gone == [job.key]
    assert store.get(job.key).gone


@pytest.mark.row(36)
def test_endless_500s_are_asked_about(
    store: SqlStore, api: FakeApi, reporter: Reporter, gone: list[int], clock: Clock
) -> None:
    """After some 500s the status is asked for; a 404 there means that the job was deleted."""
    job = store.add(JobSpec.parse("7", RAW))
    reporter.watch(job)
    api.known = False
    api.answers = [ServerError("PUT", 500) for _ in range(10)]
    turns = 0
    while not gone:
        reporter.turn()
        clock.now += 60
        turns += 1

    assert turns == ASK_AFTER
    assert api.asked == ["7"]
    assert gone == [job.key]


def test_a_job_that_answers_500_does_not_hold_up_another(
    store: SqlStore, api: FakeApi, reporter: Reporter
) -> None:
    """Each job has its own line: one waits, the other is served."""
    reporter.watch(store.add(JobSpec.parse("7", RAW)))
    reporter.watch(store.add(JobSpec.parse("8", RAW)))
    api.answers = [ServerError("PUT", 500)]

    reporter.turn()

    assert [job_id for job_id, _, _ in api.heard] == ["8"]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [pytest.param([], "confirmed", id="204"), pytest.param([NotFound("PUT", 404)], "JobGone", id="404")],
)
def test_confirm_waits_for_the_answer(
    store: SqlStore, api: FakeApi, reporter: Reporter, answer: list[ApiError], expected: str
) -> None:
    """A step that needs the lease goes on at the acknowledgement, and ends at a 404."""
    job = store.add(JobSpec.parse("7", RAW))
    reporter.watch(job)
    api.answers = answer
    outcome: list[str] = []
    waiting = threading.Thread(
        target=lambda: outcome.append(ended(lambda: reporter.confirm(job, StopSignal())))
    )
    waiting.start()

    reporter.turn()
    waiting.join(10)

    assert outcome == [expected]


def test_confirm_ends_with_the_stop_signal(store: SqlStore, reporter: Reporter) -> None:
    """A worker that is told to stop does not wait for an API that is away."""
    job = store.add(JobSpec.parse("7", RAW))
    stop = StopSignal()
    stop.set("shutdown")

    assert ended(lambda: reporter.confirm(job, stop)) == "Paused"


def ended(call: Callable[[], None]) -> str:
    try:
        call()
    except (JobGone, Paused) as error:
        return type(error).__name__
    return "confirmed"
