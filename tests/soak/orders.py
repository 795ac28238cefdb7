"""What the operator asked for, and what is wrong with what came of it."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from jobfetcher.control import cancelled
from mock_api.records import Event
from persistence.reader import Reader
from persistence.rows import JobRow
from states.job import JobState
from tests.soak.lives import Life
from tests.soak.naming import stem, stem_of
from tests.soak.operating import Asked, Done, Operating, done
from tests.soak.user import Submitted

ACCOUNT = "worker"
IN_FLIGHT = 8.0
"""Seconds that a request to the API may be under way: it may hang, and come in late."""
FIRST_SECONDS = 2.0
"""Seconds of a life in which the service may still take what the last one has sent."""
_REFUSALS = {
    "cancel": ("has ended by itself before it could be cancelled",),
    "retry-upload": (
        "has nothing to upload yet",
        "not on this machine any more",
        "is not ours any more",
        "does not know job",
        "for a job that was deleted",
    ),
}
"""The good reasons to refuse."""


@dataclass
class Orders:
    """All requests, oldest first, and their answers."""

    asked: list[Asked]
    done: dict[int, Done]
    changed: list[str]
    """Answers that are others than they were at first."""

    @property
    def cancelled(self) -> dict[int, str]:
        """What is to be told of each job that was cancelled, by its key in the database."""
        return {asked.key: cancelled(asked.reason) for asked, _ in self.agreed("cancel") if asked.key}

    @property
    def uploaded_again(self) -> set[int]:
        """Keys of the jobs whose upload was to be repeated."""
        return {asked.key for asked in self.asked if asked.kind == "retry-upload" and asked.key}

    @property
    def counts(self) -> Counter[str]:
        """How often each kind was asked for."""
        return Counter(asked.kind for asked in self.asked)

    @property
    def refused(self) -> Counter[str]:
        """How often each kind was refused."""
        return Counter(one.kind for one in self.asked if one.id in self.done and self.done[one.id].refused)

    def agreed(self, kind: str) -> Iterator[tuple[Asked, Done]]:
        """The requests of that kind that were done."""
        for asked in self.asked:
            answer = self.done.get(asked.id)
            if asked.kind == kind and answer is not None and not answer.refused:
                yield asked, answer

    def drained(self) -> Iterator[tuple[float, float]]:
        """From when to when the worker was to fetch nothing, in seconds since the epoch."""
        kinds = [asked for asked in self.asked if asked.kind in ("drain", "resume")]
        for drain, resume in zip(kinds[::2], kinds[1::2], strict=True):
            if drain.id in self.done and resume.id in self.done:
                yield self.done[drain.id].at, self.done[resume.id].at


def read_orders(operating: Operating, file: Path) -> Orders:
    """What lies in the database at the end."""
    found = done(file)
    changed = [
        f"request {number} was answered twice: {first.text!r}, then {found.get(number)}"
        for number, first in operating.first_seen.items()
        if number not in found or (found[number].text, found[number].refused) != (first.text, first.refused)
    ]
    return Orders(operating.asked, found, changed)


def judged_answers(orders: Orders, reader: Reader) -> list[str]:
    """Each request is answered, once, and refused for good reasons only; no flag stays."""
    problems = list(orders.changed)
    for asked in orders.asked:
        answer = orders.done.get(asked.id)
        if answer is None:
            problems.append(f"request {asked.id} ({asked.kind}) was never answered")
        elif answer.refused and not any(why in answer.text for why in _REFUSALS.get(asked.kind, ())):
            problems.append(f"request {asked.id} ({asked.kind}) was refused: {answer.text}")
    return problems + [f"the flag {flag!r} is still up" for flag in reader.flags()]


def judged_cancels(
    orders: Orders,
    reader: Reader,
    submitted: list[Submitted],
    events: list[Event],
    started: dict[str, float],
) -> list[str]:
    """A cancelled job ended at once and for good: nothing was started or uploaded for it afterwards."""
    rows = {row.key: row for row in reader.jobs()}
    problems = []
    for asked, answer in orders.agreed("cancel"):
        row = rows[asked.key or 0]
        label = f"job {row.api_id} (key {row.key}), cancelled by request {asked.id},"
        if (row.state, row.facts["detail"]) != (JobState.ERROR, cancelled(asked.reason)):
            problems.append(f"{label} is {row.state}: {row.facts['detail']!r}")
        if any(move.at > answer.at for move in reader.moves(row.key)):
            problems.append(f"{label} moved afterwards")
        late = [name for name, at in started.items() if at > answer.at and stem(name) == stem_of(row)]
        problems += [f"{label} had {name} started afterwards" for name in late]
        if row.key not in orders.uploaded_again and row is newest(rows.values(), number_of(row)):
            problems += [f"{label}: {what}" for what in _uploads_after(answer.at, row, submitted, events)]
    return problems


def judged_drains(orders: Orders, lives: list[Life], events: list[Event]) -> list[str]:
    """While it is drained nothing is fetched; and a life ends by itself for that reason only."""
    pulled = [event for event in events if event.kind == "pulled" and event.account == ACCOUNT]
    begun = [life.began for life in lives]
    problems = []
    for since, until in orders.drained():
        in_peace = min([since + IN_FLIGHT, *(at + FIRST_SECONDS for at in begun if at > since)])
        late = [event for event in pulled if in_peace < event.time < until]
        problems += [f"job {event.id} was fetched while the worker was drained" for event in late]
    drains = [answer.at for _, answer in orders.agreed("drain")]
    for life in lives:
        drained = any(life.began <= at <= life.ended for at in drains)
        if life.by_itself and not life.hit and not (life.code == 0 and drained):
            problems.append(f"life {life.number} ({life.how}) ended by itself with {life.code}")
    return problems


def newest(rows: Iterable[JobRow], number: int) -> JobRow:
    """The last delivery of a job of the soak."""
    return max((row for row in rows if number_of(row) == number), key=lambda row: row.key)


def number_of(row: JobRow) -> int:
    """The job's number in the soak."""
    return int(row.spec["meta"]["job_id"])


def _uploads_after(at: float, row: JobRow, submitted: list[Submitted], events: list[Event]) -> list[str]:
    its = {job.submission for job in submitted if job.plan.number == number_of(row)}
    late = [e for e in events if e.kind == "upload" and e.submission in its and e.time > at + IN_FLIGHT]
    return [f"{event.detail} was uploaded {event.time - at:.1f} s afterwards" for event in late]
