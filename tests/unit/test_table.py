"""The table is whole: walking it finds no dead end, no orphan and no state without its step."""

import pytest

from states.job import ApiStatus, JobState, Trigger
from states.steps import STEPS
from states.table import LIVE, TABLE, TERMINAL


def reachable_from(start: JobState) -> set[JobState]:
    seen, ahead = set[JobState](), {start}
    while ahead:
        state = ahead.pop()
        seen.add(state)
        ahead |= {edge.target for edge in TABLE[state].edges} - seen
    return seen


def test_every_state_has_a_row() -> None:
    """A new state's enum member without a row in the table is noticed."""
    assert set(TABLE) == set(JobState)


def test_a_state_has_a_step_exactly_if_it_has_exits() -> None:
    """Live states have work to do; terminal states have none."""
    assert set(STEPS) == set(LIVE)


def test_the_ends_are_the_three_known_ones() -> None:
    """A row that loses its edges by mistake does not silently become an end."""
    assert sorted(TERMINAL) == [JobState.CANCELLED, JobState.ERROR, JobState.FINISHED]


def test_every_state_is_reachable_from_fetched() -> None:
    """No state is an orphan."""
    assert reachable_from(JobState.FETCHED) == set(JobState)


@pytest.mark.parametrize("state", sorted(LIVE))
def test_every_live_state_can_end(state: JobState) -> None:
    """From each live state every end can still be reached: no job is trapped."""
    assert reachable_from(state) >= TERMINAL


@pytest.mark.parametrize("state", sorted(LIVE))
@pytest.mark.parametrize(
    ("trigger", "end"), [(Trigger.FAILED, JobState.ERROR), (Trigger.GONE, JobState.CANCELLED)]
)
def test_every_live_state_may_fail_and_may_be_taken_away(
    state: JobState, trigger: Trigger, end: JobState
) -> None:
    """FAILED and GONE lead out of each live state, without a condition."""
    targets = [(edge.target, edge.when) for edge in TABLE[state].edges if edge.trigger is trigger]

    assert targets == [(end, None)]


@pytest.mark.parametrize("state", sorted(LIVE))
def test_edges_of_one_trigger_all_have_conditions_or_there_is_one(state: JobState) -> None:
    """An edge without a condition never hides a second edge of the same trigger."""
    edges = TABLE[state].edges
    for trigger in {edge.trigger for edge in edges}:
        same = [edge for edge in edges if edge.trigger is trigger]

        assert len(same) == 1 or all(edge.when for edge in same)


def test_what_the_api_is_told() -> None:
    """The status of each state is the API's word for it; a cancelled job is not spoken of."""
    told = {state: row.tells for state, row in TABLE.items()}

    assert told == {
        JobState.FETCHED: ApiStatus.PREPROCESSING,
        JobState.DOWNLOADING: ApiStatus.PREPROCESSING,
        JobState.RUNNING: ApiStatus.RUNNING,
        JobState.UPLOADING: ApiStatus.POSTPROCESSING,
        JobState.FINISHED: ApiStatus.FINISHED,
        JobState.ERROR: ApiStatus.ERROR,
        JobState.CANCELLED: None,
    }


def test_ranks_follow_a_jobs_life() -> None:
    """The two ends share the last rank: neither may follow the other."""
    ranks = [status.rank for status in ApiStatus]

    assert ranks == [0, 1, 2, 3, 4, 5, 5]
