"""What 'top' can have done, in the ways of the commands 'cancel', 'drain' and 'resume'."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from jobfetcher.cli import asking
from jobfetcher.cli.control import SECONDS
from jobfetcher.cli.look import Unanswerable
from jobfetcher.lock import holder
from persistence.requests import Operator


@dataclass(frozen=True)
class Orders:
    """Each call waits until the worker has done it, and returns what came of it as a sentence.

    Raises ``Unanswerable`` and ``persistence.errors`` with one.
    """

    cancel: Callable[[str], str]
    """Takes the job's id."""
    drain: Callable[[], str]
    """Take no new jobs, finish what is there."""
    resume: Callable[[], str]
    """Take jobs again."""


def orders(path_base: Path | None) -> Orders:
    """To the worker of that folder; None: that of the settings."""
    return Orders(
        cancel=lambda job_id: _outcome(asking.of_job(path_base, job_id, "cancel", live_only=True, reason="")),
        drain=lambda: _outcome(asking.of_worker(path_base, "drain")),
        resume=lambda: _outcome(asking.of_worker(path_base, "resume")),
    )


def _outcome(asked: asking.Asked) -> str:
    deadline = time.monotonic() + SECONDS
    with Operator(asked.file) as operator:
        while (answer := operator.answer_to(asked.number)) is None:
            if holder(asked.base) is None:
                return asking.NO_WORKER
            if time.monotonic() > deadline:
                return asking.NOT_YET
            time.sleep(asking.LOOK_SECONDS)
    if answer.refused:
        raise Unanswerable(answer.text)
    return answer.text
