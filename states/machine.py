"""``fire``: the one function that moves a job. It asks the transitions library whether and where to.

No work hangs on entering a state: with transitions 0.9.3 ``on_enter`` does not run for the initial
state, so a restored job would need a second path.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from transitions import Machine, MachineError

from states.errors import IllegalMove
from states.job import ApiStatus, Job, JobState, Trigger
from states.table import TABLE


@dataclass(eq=False)
class _Token:
    """Stands for one job while the library decides."""

    job: Job
    state: str
    trigger: Callable[[str], bool] = field(init=False)


def _condition(when: Callable[[Job], bool] | None) -> list[Callable[..., bool]]:
    return [] if when is None else [lambda event: when(event.model.job)]


_machine = Machine(
    model=None,
    states=[state.value for state in JobState],
    transitions=[
        {
            "trigger": edge.trigger.value,
            "source": state.value,
            "dest": edge.target.value,
            "conditions": _condition(edge.when),
        }
        for state, row in TABLE.items()
        for edge in row.edges
    ],
    initial=JobState.FETCHED.value,
    auto_transitions=False,
    send_event=True,
)


def fire(job: Job, trigger: Trigger) -> Job:
    """The job after ``trigger``, with the status to tell the API in ``told``.

    Raises ``IllegalMove`` where the table has no edge for the trigger.
    """
    target = JobState(_target(job, trigger))
    moved = job.run_again() if trigger is Trigger.LOST and target is JobState.DOWNLOADING else job
    return moved.moved_to(target, _furthest(job.told, TABLE[target].tells))


def _target(job: Job, trigger: Trigger) -> str:
    token = _Token(job, job.state.value)
    _machine.add_model(token, initial=job.state.value)
    try:
        moved = token.trigger(trigger.value)
    except MachineError as error:
        raise IllegalMove(f"{job.state} has no way out by {trigger}") from error
    finally:
        _machine.remove_model(token)
    if not moved:
        raise IllegalMove(f"no condition lets {job.state} leave by {trigger}")
    return token.state


def _furthest(told: ApiStatus, tells: ApiStatus | None) -> ApiStatus:
    """What the API sees never goes back, not even when a lost run starts again."""
    return tells if tells is not None and tells.rank > told.rank else told
