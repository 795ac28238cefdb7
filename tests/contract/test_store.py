"""What every ``Store`` does, whatever it keeps its jobs in."""

from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread

import pytest

from persistence.store import SqlStore
from states.errors import StaleJob
from states.job import ApiStatus, Job, JobState, Trigger
from states.machine import fire
from states.ports import Store
from states.spec import JobSpec
from tests.fake_store import FakeStore
from tests.store_life import brought_to, moved, sent, spec, whole

Make = Callable[[Callable[[], None]], Store]


@pytest.fixture(params=["sql", "fake"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    """Makes a store that calls back when a status is queued."""
    opened: list[SqlStore] = []

    def sql(on_queued: Callable[[], None]) -> Store:
        opened.append(SqlStore(f"sqlite:///{tmp_path / 'jobs.db'}", "w", lambda: 0.0, on_queued))
        return opened[-1]

    def fake(on_queued: Callable[[], None]) -> Store:
        return FakeStore(on_queued=on_queued)

    yield {"sql": sql, "fake": fake}[request.param]
    for store in opened:
        store.close()


@pytest.fixture
def store(make: Make) -> Store:
    return make(lambda: None)


def test_a_new_lease_becomes_a_fetched_job(store: Store) -> None:
    """A job just added is in ``fetched``, and reads back as it was returned."""
    job = store.add(spec())

    assert (job.state, job.delivery, job.version, job.attempts) == (JobState.FETCHED, 1, 1, 0)
    assert job == store.get(job.key)
    assert spec() == job.spec


def test_add_queues_the_first_status(store: Store) -> None:
    """Taking a lease on tells the API ``preprocessing``, once."""
    store.add(spec())

    assert sent(store) == [("1", "preprocessing", "")]


@pytest.mark.row(4)
def test_adding_a_live_lease_again_changes_nothing(store: Store) -> None:
    """A lease delivered twice is one job, one row, one status."""
    first = store.add(spec())
    job = brought_to(store, first, JobState.DOWNLOADING)

    assert job == store.add(spec())
    assert [job] == store.live()
    assert sent(store) == [("1", "preprocessing", "")]


@pytest.mark.parametrize(
    ("state", "detail", "expected"),
    [(JobState.FINISHED, "", "finished"), (JobState.ERROR, "No such image.", "error")],
    ids=["finished", "error"],
)
@pytest.mark.row(4)
def test_an_ended_lease_delivered_again_is_told_again(
    store: Store, state: JobState, detail: str, expected: str
) -> None:
    """The API asks for a job that we have ended: it hears the same end, with the same detail."""
    ended = brought_to(store, store.add(spec()), state, detail)
    sent(store)

    assert ended == store.add(spec())
    assert [(expected, detail)] == [(update.status.value, update.detail) for update in store.unsent()]
    assert not store.reported(ended.key)


def test_an_end_still_unsent_is_not_queued_twice(store: Store) -> None:
    """Delivered again before the API has heard of the end: the queued status is enough."""
    brought_to(store, store.add(spec()), JobState.FINISHED)
    store.add(spec())
    store.add(spec())

    expected = [("1", status, "") for status in ("preprocessing", "running", "postprocessing", "finished")]
    assert expected == sent(store)


@pytest.mark.row(4)
def test_a_cancelled_lease_begins_anew(store: Store) -> None:
    """A lease that was taken from us and comes back is a new job with the next delivery."""
    old = brought_to(store, store.add(spec()), JobState.CANCELLED)
    new = store.add(spec())

    assert (new.delivery, new.state) == (2, JobState.FETCHED)
    assert new.key != old.key
    assert new.slug != old.slug
    assert [(new.key, ApiStatus.PREPROCESSING)] == [(u.job_key, u.status) for u in store.unsent()]


def test_a_gone_lease_begins_anew_before_its_cancelling(store: Store) -> None:
    """A 404 suffices: a lease that comes back is new, also while the old job is being taken down."""
    old = store.add(spec())
    store.mark_gone(old.key)
    new = store.add(spec())

    assert [old.key, new.key] == [job.key for job in store.live()]
    assert new == store.add(spec())


def test_a_reused_id_is_another_lease(store: Store) -> None:
    """The API gives a deleted job's id to the next one: both are kept apart."""
    first = store.add(spec())
    other = spec().model_copy(update={"meta": spec(2).meta})

    assert first.key != store.add(other).key
    assert [job.id for job in store.live()] == ["1", "1"]


def test_add_all_takes_every_job_of_one_answer(store: Store) -> None:
    """The jobs of one answer come back in its order; one listed twice is one job."""
    jobs = store.add_all([spec(2), spec(1), spec(2)])

    assert [job.id for job in jobs] == ["2", "1", "2"]
    assert jobs[:2] == store.live()


def test_an_unreadable_specification_is_kept(store: Store) -> None:
    """What the API sent is stored whole even where it makes no sense."""
    odd = JobSpec.parse("9", {"app": 5, "text": "\ud800 half a character", "number": float("inf")})
    job = store.add(odd)

    assert odd == store.get(job.key).spec
    assert odd.lease == store.get(job.key).spec.lease


def test_get_refuses_an_unknown_key(store: Store) -> None:
    """A key that was never given out is a LookupError."""
    with pytest.raises(LookupError):
        store.get(7)


def test_begin_counts_and_forgive_gives_back(store: Store) -> None:
    """``begin`` adds an attempt; ``forgive`` takes one away, never below 0; neither is a new version."""
    job = store.add(spec())
    begun = store.begin(store.begin(job))
    assert (begun.attempts, begun.version) == (2, 1)

    for _ in range(3):
        store.forgive(begun)
    assert (store.get(job.key).attempts, store.get(job.key).version) == (0, 1)


def test_note_writes_facts_only(store: Store) -> None:
    """Facts noted are on record, and come back with what others wrote meanwhile."""
    job = store.add(spec())
    store.begin(job)
    store.mark_gone(job.key)
    noted = store.note(job.with_facts(image_id="sha256:1", gpus=("GPU-1",)))

    assert (
        noted.facts.image_id,
        noted.facts.gpus,
        noted.attempts,
        noted.gone,
    ) == ("sha256:1", ("GPU-1",), 1, True)
    assert noted == store.get(job.key)


def test_settle_notes_and_gives_back(store: Store) -> None:
    """Facts and the attempt in one write; never below 0, and no new version."""
    job = store.begin(store.add(spec()))
    settled = store.settle(job.with_facts(image_id="sha256:1"))
    again = store.settle(settled)

    assert (settled.facts.image_id, settled.attempts, settled.version) == ("sha256:1", 0, 1)
    assert again == settled == store.get(job.key)


def test_a_move_may_begin_the_next_try(store: Store) -> None:
    """The attempts that it says are those of the new state."""
    job = store.begin(store.begin(store.add(spec())))
    begun = store.commit(job, fire(job, Trigger.ACCEPTED).begun(), Trigger.ACCEPTED)

    assert (begun.state, begun.attempts) == (JobState.DOWNLOADING, 1)
    assert begun == store.get(job.key)


def test_a_move_records_files(store: Store) -> None:
    """What became whole with the step is on record with its move."""
    job = brought_to(store, store.add(spec()), JobState.UPLOADING)
    store.record_file(job, whole("a", "up"))
    store.commit(job, fire(job, Trigger.FAILED), Trigger.FAILED, [whole("a", "up", size=2), whole("b", "up")])

    assert store.files(job, "up") == [whole("a", "up", size=2), whole("b", "up")]


def test_commit_moves_the_job(store: Store) -> None:
    """A move is a new version in the new state, with its attempts there still to come."""
    job = store.begin(store.add(spec()))
    moved = brought_to(store, job, JobState.DOWNLOADING)

    assert (moved.state, moved.version, moved.attempts) == (JobState.DOWNLOADING, 2, 0)
    assert moved == store.get(job.key)


@pytest.mark.parametrize("call", ["begin", "forgive", "note", "settle", "record_file", "commit"])
def test_a_stale_job_is_refused(store: Store, call: str) -> None:
    """Whoever holds an old version can write nothing: StaleJob, and the row is as it was."""
    old = store.add(spec())
    brought_to(store, old, JobState.DOWNLOADING)
    before = store.get(old.key), store.unsent()
    calls: dict[str, Callable[[], object]] = {
        "begin": lambda: store.begin(old),
        "forgive": lambda: store.forgive(old),
        "note": lambda: store.note(old.with_facts(detail="late")),
        "settle": lambda: store.settle(old.with_facts(detail="late")),
        "record_file": lambda: store.record_file(old, whole("a")),
        "commit": lambda: store.commit(old, fire(old, Trigger.FAILED), Trigger.FAILED),
    }

    with pytest.raises(StaleJob):
        calls[call]()
    assert before == (store.get(old.key), store.unsent())
    assert store.files(old, "down") == []


def test_only_a_new_status_is_queued(store: Store) -> None:
    """fetched → downloading tells the API nothing new; each later state does, in order."""
    brought_to(store, store.add(spec()), JobState.FINISHED)

    expected = ["preprocessing", "running", "postprocessing", "finished"]
    assert expected == [status for _, status, _ in sent(store)]


def test_only_an_error_carries_its_detail(store: Store) -> None:
    """What the owner is told goes with ``error``, and with no other status."""
    job = brought_to(store, store.add(spec()), JobState.RUNNING, detail="so far so good")
    moved(store, job, Trigger.FAILED, detail="Disk full.")

    expected = [("1", "preprocessing", ""), ("1", "running", ""), ("1", "error", "Disk full.")]
    assert expected == sent(store)


def test_a_lost_run_forgets_its_files(store: Store) -> None:
    """The next run begins from clean inputs, and the API sees no step back."""
    job = brought_to(store, store.add(spec()), JobState.RUNNING)
    other = store.add(spec(2))
    for owner in (job, other):
        store.record_file(owner, whole("a"))
    sent(store)
    again = store.commit(job, fire(job, Trigger.LOST), Trigger.LOST)

    assert ([], [whole("a")]) == (store.files(again, "down"), store.files(other, "down"))
    assert (again.run, again.state, again.told) == (2, JobState.DOWNLOADING, ApiStatus.RUNNING)
    assert store.unsent() == []


def test_a_recorded_file_is_progress(store: Store) -> None:
    """A whole file resets the attempts; recorded twice it is one, with the later size."""
    job = store.begin(store.add(spec()))
    store.record_file(job, whole("b", size=1))
    store.record_file(job, whole("a"))
    store.record_file(job, whole("b", size=2))
    store.record_file(job, whole("b", direction="up"))

    assert [whole("a"), whole("b", size=2)] == store.files(job, "down")
    assert [whole("b", direction="up")] == store.files(job, "up")
    assert store.get(job.key).attempts == 0


def test_files_are_recorded_together_or_not_at_all(store: Store) -> None:
    """Many at once are as good as one after the other; of a job that has moved on, none is."""
    old = store.add(spec())
    store.record_files(old, [whole("a"), whole("b"), whole("a", size=3)])
    job = moved(store, old, Trigger.ACCEPTED)
    with pytest.raises(StaleJob):
        store.record_files(old, [whole("c"), whole("d")])

    assert [whole("a", size=3), whole("b")] == store.files(job, "down")


def test_unsent_is_the_oldest_of_each_job(store: Store) -> None:
    """A later status waits until the earlier one of the same job is acknowledged; jobs do not wait
    for each other."""
    first, second = store.add(spec(1)), store.add(spec(2))
    brought_to(store, second, JobState.RUNNING)
    brought_to(store, first, JobState.RUNNING)

    assert [(u.job_id, u.status.value) for u in store.unsent()] == [
        ("1", "preprocessing"),
        ("2", "preprocessing"),
    ]
    store.mark_sent(store.unsent()[0])
    assert [(u.job_id, u.status.value) for u in store.unsent()] == [("2", "preprocessing"), ("1", "running")]
    assert [update.job_id for update in store.unsent(limit=1)] == ["2"]


def test_an_acknowledged_update_is_not_told_again(store: Store) -> None:
    """It is as good as sent, and the next one of its job waits for nothing."""
    job = store.add(spec())
    store.acknowledged(store.unsent()[0])
    before = store.unsent()
    brought_to(store, job, JobState.RUNNING)

    assert (before, [update.status for update in store.unsent()]) == ([], [ApiStatus.RUNNING])


def test_an_update_that_overtakes_nothing(store: Store) -> None:
    """Acknowledged after the next one was queued, it is out of its way as well."""
    job = store.add(spec())
    [first] = store.unsent()
    brought_to(store, job, JobState.RUNNING)
    store.acknowledged(first)

    assert [update.status for update in store.unsent()] == [ApiStatus.RUNNING]


def test_an_update_is_acknowledged_once(store: Store) -> None:
    """Marking a status sent twice does no harm."""
    store.add(spec())
    [update] = store.unsent()
    store.mark_sent(update)
    store.mark_sent(update)

    assert store.unsent() == []


def test_a_gone_job_sends_nothing(store: Store) -> None:
    """After a 404 nothing of the job is sent, queued before or after it; other jobs go on."""
    gone, other = store.add(spec(1)), store.add(spec(2))
    store.mark_gone(gone.key)
    brought_to(store, gone, JobState.FINISHED)

    assert [other.key] == [update.job_key for update in store.unsent()]
    assert store.reported(gone.key)


def test_a_move_does_not_unsay_gone(store: Store) -> None:
    """The 404 arrives while a step works on a job read before: the move keeps it."""
    job = store.add(spec())
    store.mark_gone(job.key)
    moved = brought_to(store, job, JobState.DOWNLOADING)

    assert (job.gone, moved.gone, store.get(job.key).gone) == (False, True, True)


def test_reported_is_ended_and_heard(store: Store) -> None:
    """A job is reported when it has ended and every status is acknowledged; not before."""
    job = store.add(spec())
    sent(store)
    live = store.reported(job.key)
    brought_to(store, job, JobState.FINISHED)
    unheard = store.reported(job.key)
    sent(store)

    assert (live, unheard, store.reported(job.key)) == (False, False, True)
    assert store.live() == []


def test_on_queued_follows_what_was_queued(make: Make) -> None:
    """The reporter is woken once per commit that queued something, after it can be read."""
    seen: list[int] = []
    woken = make(lambda: seen.append(len(woken.unsent())))
    jobs = woken.add_all([spec(1), spec(2)])
    assert seen == [2]

    woken.add(spec(1))
    moved = woken.commit(jobs[0], fire(jobs[0], Trigger.ACCEPTED), Trigger.ACCEPTED)
    assert seen == [2]

    woken.commit(moved, fire(moved, Trigger.DOWNLOADED), Trigger.DOWNLOADED)
    assert seen == [2, 2]


def test_threads_do_not_disturb_each_other(store: Store) -> None:
    """Four threads move and record for jobs of their own at once: no write is lost, none refused."""
    jobs = store.add_all([spec(number) for number in range(4)])

    def work(job: Job) -> None:
        for number in range(15):
            job = store.begin(job)
            store.record_file(job, whole(f"{number:02}"))
            job = store.note(job.with_facts(detail=str(number)))
        brought_to(store, job, JobState.FINISHED)

    threads = [Thread(target=work, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [store.get(job.key).state for job in jobs] == [JobState.FINISHED] * 4
    assert [len(store.files(job, "down")) for job in jobs] == [15] * 4
    assert [store.get(job.key).version for job in jobs] == [5] * 4
