"""The database at a glance: what a page that asks each second reads, and what it does not read again."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from persistence.overview import GLANCE, LIVE, Memory, Overview
from persistence.schema import IS_LIVE
from persistence.store import SqlStore
from states.job import JobState, Trigger
from tests.store_life import brought_to, moved, sent, spec


class Clock:
    """Tells what it is set to."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[SqlStore]:
    with SqlStore(f"sqlite:///{tmp_path / 'jobs.db'}", "w", clock=clock) as store:
        yield store


def test_live_jobs_are_found_by_their_index(store: SqlStore) -> None:
    """The copied condition is the index's own: no look reads all jobs there ever were."""
    with Overview(store.path) as overview:
        plan = [row[3] for row in overview._query(f"EXPLAIN QUERY PLAN {GLANCE}", 100)]

    assert str(IS_LIVE) == f"jobs.{LIVE}"
    assert any("USING INDEX jobs_live" in step for step in plan), plan


def test_a_glance_has_what_a_line_needs(store: SqlStore, clock: Clock) -> None:
    """State, since when, image, detail, unsent updates and the moves so far."""
    job = store.add(spec(7))
    clock.now = 130.0
    moved(store, job, Trigger.FAILED, detail="No.\nNot at all.", gpus=("GPU-1",))
    with Overview(store.path) as overview:
        (seen,) = overview.glances(10)

    assert ("7", "error", 100.0, 130.0) == (seen.id, seen.state, seen.created, seen.since)
    assert ("busybox", "No.\nNot at all.", '["GPU-1"]') == (seen.image, seen.detail, seen.gpus)
    assert (2, False, ["fetched", "error"]) == (seen.unsent, seen.gone, [move.target for move in seen.moves])


def test_live_jobs_are_never_cut_off(store: SqlStore) -> None:
    """Of ended jobs only the newest are there, of the others all, newest first."""
    waiting = store.add(spec(1))
    for number in (2, 3, 4):
        brought_to(store, store.add(spec(number)), JobState.ERROR)
    with Overview(store.path) as overview:
        seen = overview.glances(2)

    assert ["4", "3", waiting.id] == [job.id for job in seen]


def test_nothing_is_read_twice_that_cannot_have_changed(store: SqlStore) -> None:
    """What was learned of a job that has not moved is the same object at the next look; a move is seen."""
    still, moving = store.add(spec(1)), store.add(spec(2))
    memory = Memory()
    with Overview(store.path, memory) as overview:
        first = {job.key: job for job in overview.glances(10)}
        moved(store, moving, Trigger.ACCEPTED)
        second = {job.key: job for job in overview.glances(10)}

    assert first[still.key].moves is second[still.key].moves
    assert ["fetched", "downloading"] == [move.target for move in second[moving.key].moves]
    assert {still.key, moving.key} == set(memory.images)


def test_the_oldest_unsent_update_is_known(store: SqlStore, clock: Clock) -> None:
    """Their number and since when the first waits; those of a job that is gone wait for nobody."""
    with Overview(store.path) as overview:
        assert (0, None) == overview.oldest_unsent()
        gone = store.add(spec(1))
        clock.now = 150.0
        store.add(spec(2))
        assert (2, 100.0) == overview.oldest_unsent()
        store.mark_gone(gone.key)
        assert (1, 150.0) == overview.oldest_unsent()


def test_stays_are_told_once(store: SqlStore, clock: Clock) -> None:
    """Each state that was left, with how long it lasted; later only what came since."""
    job = store.add(spec(1))
    clock.now = 103.0
    job = moved(store, job, Trigger.ACCEPTED)
    clock.now = 110.0
    job = moved(store, job, Trigger.DOWNLOADED)
    with Overview(store.path) as overview:
        first = overview.stays(after=0)
        clock.now = 200.0
        moved(store, job, Trigger.LOST)
        later = overview.stays(after=first[-1].id)

    assert [("fetched", 3.0), ("downloading", 7.0)] == [(stay.state, stay.seconds) for stay in first]
    assert [("running", "lost", "downloading", 90.0)] == [
        (stay.state, stay.because, stay.target, stay.seconds) for stay in later
    ]


def test_counts_are_those_of_now(store: SqlStore) -> None:
    """Counted once for many looks, and anew after a job has come, moved or been forgotten."""
    memory = Memory()

    def counts() -> dict[str, int]:
        with Overview(store.path, memory) as overview:
            return overview.counts()

    assert {} == counts()
    job = store.add(spec(1))
    assert {"fetched": 1} == counts()
    assert counts() is counts()
    ended = moved(store, job, Trigger.FAILED)
    assert {"error": 1} == counts()
    sent(store)
    store.mark_swept(ended.key)
    store.forget_past(-1.0)
    assert {} == counts()
