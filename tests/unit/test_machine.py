"""``fire`` obeys the table, whatever is fired, in whatever order, from however many threads."""

from concurrent.futures import ThreadPoolExecutor
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from states.errors import IllegalMove
from states.job import ApiStatus, Exit, Facts, Job, JobState, Share, Trigger
from states.machine import fire
from states.table import MAX_RERUNS, TABLE, TERMINAL
from tests.fake_tools import a_job
from tests.properties import calm

PAIRS = list(product(JobState, Trigger))
LEGAL = [(state, edge.trigger) for state, row in TABLE.items() for edge in row.edges]
ILLEGAL = [pair for pair in PAIRS if pair not in LEGAL]


def walk(triggers: list[Trigger], exit_code: int) -> list[Job]:
    """The jobs on the way when all triggers are fired that are legal at their time."""
    jobs = [a_job(exit_code=exit_code)]
    for trigger in triggers:
        if (jobs[-1].state, trigger) in LEGAL:
            moved = fire(jobs[-1], trigger)
            jobs.append(moved.with_facts(exit=Exit(code=exit_code)))
    return jobs


walks = st.builds(walk, st.lists(st.sampled_from(Trigger), max_size=30), st.sampled_from([0, 1]))


@pytest.mark.parametrize(("state", "trigger"), LEGAL)
def test_a_pair_in_the_table_moves(state: JobState, trigger: Trigger) -> None:
    """Each edge of the table can be taken, and leads where the table says."""
    targets = {edge.target for edge in TABLE[state].edges if edge.trigger is trigger}
    cases = [a_job(state, exit_code=code, run=run) for code in (0, 1) for run in (1, MAX_RERUNS + 1)]

    assert {fire(job, trigger).state for job in cases} == targets


@pytest.mark.parametrize(("state", "trigger"), ILLEGAL)
def test_a_pair_outside_the_table_is_refused(state: JobState, trigger: Trigger) -> None:
    """What the table does not name cannot happen, and the error names both."""
    with pytest.raises(IllegalMove, match=rf"{state}.*{trigger}"):
        fire(a_job(state, exit_code=0), trigger)


@pytest.mark.parametrize(
    ("exit_code", "end"), [(0, JobState.FINISHED), (1, JobState.ERROR), (None, JobState.ERROR)]
)
def test_the_exit_code_chooses_the_end(exit_code: int | None, end: JobState) -> None:
    """Only an observed exit code 0 finishes a job."""
    assert fire(a_job(JobState.UPLOADING, exit_code), Trigger.UPLOADED).state == end


@pytest.mark.parametrize("run", range(1, MAX_RERUNS + 3))
def test_a_lost_run_is_made_again_a_few_times(run: int) -> None:
    """A lost run goes back to its inputs at most MAX_RERUNS times; then the job fails."""
    moved = fire(a_job(JobState.RUNNING, run=run), Trigger.LOST)
    again = run <= MAX_RERUNS

    assert (moved.state, moved.run) == ((JobState.DOWNLOADING, run + 1) if again else (JobState.ERROR, run))


def test_a_new_run_knows_nothing_of_the_lost_one() -> None:
    """Container, exit and image of a lost run are forgotten; why it was lost and what the job holds stay."""
    share = Share(cpu_cores=2, memory=100)
    lost = a_job(JobState.RUNNING, exit_code=3).with_facts(
        image_id="sha256:1", share=share, gpus=("G",), detail="why"
    )
    facts = fire(lost, Trigger.LOST).facts

    assert facts == Facts(share=share, gpus=("G",), detail="why")


def test_a_move_gives_all_attempts_back() -> None:
    """Attempts count tries in one state, not in a life."""
    tired = a_job().model_copy(update={"attempts": 4})

    assert fire(tired, Trigger.ACCEPTED).attempts == 0


def test_a_job_taken_away_tells_nothing_new() -> None:
    """GONE leaves what the API was told as it is."""
    job = fire(a_job(JobState.RUNNING).model_copy(update={"told": ApiStatus.RUNNING}), Trigger.GONE)

    assert (job.state, job.told) == (JobState.CANCELLED, ApiStatus.RUNNING)


@calm
@given(walks)
def test_what_the_api_is_told_never_goes_back(jobs: list[Job]) -> None:
    """Along every path ``told`` only grows, also when a lost run starts again."""
    ranks = [job.told.rank for job in jobs]

    assert ranks == sorted(ranks)


@calm
@given(walks)
def test_runs_are_bounded(jobs: list[Job]) -> None:
    """No path makes more than MAX_RERUNS + 1 runs, and a run's number never shrinks."""
    runs = [job.run for job in jobs]

    assert runs == sorted(runs)
    assert runs[-1] <= MAX_RERUNS + 1


@calm
@given(walks)
def test_a_move_leaves_the_rest_of_the_job_alone(jobs: list[Job]) -> None:
    """Key, specification, worker and the version (which is the store's) do not change by firing."""
    same = {(job.key, job.spec.lease, job.worker, job.version, job.delivery) for job in jobs}

    assert len(same) == 1


@calm
@given(walks, st.sampled_from(Trigger))
def test_a_terminal_state_is_final(jobs: list[Job], trigger: Trigger) -> None:
    """Whatever led to an end, nothing leads out of it."""
    ended = next((job for job in jobs if job.state in TERMINAL), a_job(JobState.CANCELLED))

    with pytest.raises(IllegalMove):
        fire(ended, trigger)


def test_firing_from_many_threads_mixes_nothing_up() -> None:
    """Jobs that move at the same time in different threads each go their own way."""
    legal = LEGAL * 100
    jobs = [a_job(state, exit_code=0).model_copy(update={"key": key}) for key, (state, _) in enumerate(legal)]
    with ThreadPoolExecutor(8) as pool:
        moved = list(pool.map(fire, jobs, [trigger for _, trigger in legal]))

    assert [(job.key, job.state) for job in moved] == [
        (job.key, fire(job, trigger).state) for job, (_, trigger) in zip(jobs, legal, strict=True)
    ]
