"""What the model and the soak found: deaths while the API is away, and ids that the service uses again."""

import pytest

from states.advance import advance
from states.errors import Paused
from states.job import JobState
from states.table import MAX_ATTEMPTS
from tests.crash_injection import SimulatedCrash
from tests.fake_store import FakeStore
from tests.fake_tools import FakeTools, a_spec
from tests.model.life import Life, World
from tests.store_life import brought_to


class _Deaf:
    """The API does not answer, and the worker dies waiting for it."""

    def confirm(self, *_: object) -> None:
        raise SimulatedCrash


@pytest.mark.parametrize("state", [JobState.RUNNING, JobState.UPLOADING])
def test_deaths_while_waiting_for_the_api_are_not_held_against_the_job(state: JobState) -> None:
    """However often the worker dies before the API has confirmed the lease, the job goes on afterwards."""
    store = FakeStore()
    brought_to(store, store.add(a_spec()), state)
    for _ in range(2 * MAX_ATTEMPTS):
        tools = FakeTools(store)
        tools.lease = _Deaf()  # type: ignore[assignment] # it only dies
        with pytest.raises(SimulatedCrash):
            advance(store.live()[0], store, tools)

    assert advance(store.live()[0], store, FakeTools(store)).state is JobState.FINISHED


def test_a_pause_while_waiting_gives_back_no_attempt_twice() -> None:
    """An earlier crash in the same state still counts after a wait that was broken off."""

    class Away:
        def confirm(self, *_: object) -> None:
            raise Paused("The API is away.")

    store = FakeStore()
    job = brought_to(store, store.add(a_spec()), JobState.UPLOADING)
    store.begin(job)  # and died
    tools = FakeTools(store)
    tools.lease = Away()  # type: ignore[assignment] # it only pauses
    with pytest.raises(Paused):
        advance(store.live()[0], store, tools)

    assert store.get(job.key).attempts == 1


def test_what_is_left_to_tell_of_a_deleted_job_is_not_told_of_the_next_one_with_its_id() -> None:
    """The 404 was lost, the service used the id again: the new job hears nothing of the old one's end."""
    world = World()
    world.api.submit()
    life = Life(world)
    _round(life)
    world.engine.befall("container ends well", 0)
    world.api.loses_next = True
    life.work()
    world.api.befall("user deletes", 0)
    life.report()
    world.api.submit()
    life.fetch()
    world.now += 60
    life.report()

    assert [row.submission for row in world.api.rows.values()] == [2]
    assert world.wrong + world.api.disorder == []
    assert [job.gone for job in world.store.jobs.values()] == [True, False]


def _round(life: Life) -> None:
    for part in (life.report, life.fetch, life.work, life.report, life.work, life.report):
        part()
