"""The whole machine, as data. Everything else reads it: the loop, the diagram, the tests."""

from collections.abc import Callable
from dataclasses import dataclass

from states.job import ApiStatus, Job, JobState, Trigger

MAX_ATTEMPTS = 5
"""Tries in one state without progress, before the job fails."""

MAX_RERUNS = 2
"""How often a lost run is made again from clean inputs, before the job fails."""


def exited_well(job: Job) -> bool:
    """The container's exit code was 0, seen within one engine epoch."""
    return job.facts.exit is not None and job.facts.exit.ok


def exited_badly(job: Job) -> bool:
    """The container ended by itself with another code."""
    return not exited_well(job)


def reruns_left(job: Job) -> bool:
    """The job may run once more."""
    return job.run <= MAX_RERUNS


def reruns_used_up(job: Job) -> bool:
    """The job was lost once too often."""
    return not reruns_left(job)


@dataclass(frozen=True)
class Edge:
    """One way out of a state; ``when`` chooses between edges of the same trigger."""

    trigger: Trigger
    target: JobState
    when: Callable[[Job], bool] | None = None


@dataclass(frozen=True)
class Row:
    """One state: what the API is told, and how it is left. No edges: a terminal state."""

    tells: ApiStatus | None
    edges: tuple[Edge, ...] = ()


FAILED = Edge(Trigger.FAILED, JobState.ERROR)
GONE = Edge(Trigger.GONE, JobState.CANCELLED)

TABLE: dict[JobState, Row] = {
    JobState.FETCHED: Row(
        ApiStatus.PREPROCESSING,
        (Edge(Trigger.ACCEPTED, JobState.DOWNLOADING), FAILED, GONE),
    ),
    JobState.DOWNLOADING: Row(
        ApiStatus.PREPROCESSING,
        (Edge(Trigger.DOWNLOADED, JobState.RUNNING), FAILED, GONE),
    ),
    JobState.RUNNING: Row(
        ApiStatus.RUNNING,
        (
            Edge(Trigger.EXITED, JobState.UPLOADING),
            Edge(Trigger.LOST, JobState.DOWNLOADING, reruns_left),
            Edge(Trigger.LOST, JobState.ERROR, reruns_used_up),
            FAILED,
            GONE,
        ),
    ),
    JobState.UPLOADING: Row(
        ApiStatus.POSTPROCESSING,
        (
            Edge(Trigger.UPLOADED, JobState.FINISHED, exited_well),
            Edge(Trigger.UPLOADED, JobState.ERROR, exited_badly),
            FAILED,
            GONE,
        ),
    ),
    JobState.FINISHED: Row(ApiStatus.FINISHED),
    JobState.ERROR: Row(ApiStatus.ERROR),
    JobState.CANCELLED: Row(None),
}

LIVE: frozenset[JobState] = frozenset(state for state, row in TABLE.items() if row.edges)
TERMINAL: frozenset[JobState] = frozenset(TABLE) - LIVE
