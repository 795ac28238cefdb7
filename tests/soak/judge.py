"""What became of every job, and what is wrong with it, by plan, mock and database."""

from collections import Counter
from dataclasses import dataclass, field

from mock_api.client import MockControl
from mock_api.records import Event, JobView, Upload, Violation
from persistence.reader import Reader
from persistence.rows import JobRow
from states.job import ApiStatus
from states.table import LIVE, MAX_RERUNS
from tests.soak.orders import Orders, newest, number_of
from tests.soak.user import Submitted

_AS_ASKED = "upload_after_terminal"
"""What ``retry-upload`` of a job that has ended is: the service takes it."""
_AFTER_A_KILL = {"terminal_repeated", "put_after_404"}
"""What a worker cannot avoid that dies between an answer and its own commit, see ``docs/mock-api.md``."""
_BY_CRASHES = "The last error was: the worker itself stopped each time"
_SLACK = 5.0
"""Seconds by which an answer may be younger than the death of the worker that waited for it."""


@dataclass
class Verdict:
    """What the judge found."""

    outcomes: Counter[str] = field(default_factory=Counter)
    reasons: list[str] = field(default_factory=list)
    """Why jobs were given up by rule."""
    excused: Counter[str] = field(default_factory=Counter)
    """Violations that a death explains."""
    problems: list[str] = field(default_factory=list)


@dataclass
class Evidence:
    """All that is known at the end."""

    control: MockControl
    jobs: list[Submitted]
    deaths: list[float]
    """Times of all SIGKILLs."""
    rows: list[JobRow]
    robbed: set[str]
    """Names of runs whose container somebody removed."""
    orders: Orders
    """What the operator asked for."""


def judged(evidence: Evidence) -> Verdict:
    """The verdict over every job and every status."""
    verdict = Verdict()
    views = {view.submission: view for view in evidence.control.jobs()}
    for job in evidence.jobs:
        _judge_job(job, views.get(job.submission), evidence, verdict)
    events = evidence.control.timeline()
    verdict.problems += _disorder(events)
    for violation in evidence.control.violations():
        if _excused(violation, events, evidence):
            verdict.excused[violation.rule] += 1
        else:
            verdict.problems.append(f"violation {violation}")
    return verdict


def judged_rows(reader: Reader) -> list[str]:
    """What the database must not hold at the end."""
    rows = reader.jobs()
    problems = [f"job {row.api_id} is still {row.state}" for row in rows if row.state in LIVE]
    for row in rows:
        if not row.gone and reader.outbox(row.key, only_unsent=True):
            problems.append(f"job {row.api_id} ({row.state}) has something unsent")
        if row.state not in LIVE and row.swept_at is None:
            problems.append(f"job {row.api_id} ({row.state}) was never swept")
    return problems


def _judge_job(job: Submitted, view: JobView | None, evidence: Evidence, verdict: Verdict) -> None:
    label = f"job {job.plan.number} ({job.plan.kind}, id {job.id})"
    if job.deleted_at is not None:
        verdict.outcomes["deleted by the user"] += 1
    elif view is None or view.status not in ("finished", "error"):
        verdict.outcomes["lost"] += 1
        verdict.problems.append(f"{label} is lost: {view}")
    elif sentence := _cancelled(job, evidence):
        verdict.outcomes["cancelled by the operator"] += 1
        verdict.problems += [f"{label}: {wrong}" for wrong in _wrong_cancel(job, view, sentence, evidence)]
    elif by_rule := _given_up(job, view, evidence.rows):
        verdict.outcomes["given up by rule"] += 1
        verdict.reasons.append(f"{label}: {by_rule}")
    elif (view.status == "finished") != (job.plan.exit_code == 0) or not _says_why(job, view):
        verdict.outcomes["wrong end"] += 1
        verdict.problems.append(f"{label} ended in {view.status}: {view.runtime_details[:300]!r}")
    else:
        verdict.outcomes["finished" if job.plan.exit_code == 0 else "failed as it should"] += 1
        verdict.problems += [f"{label}: {wrong}" for wrong in _wrong_outputs(job, evidence)]


def _says_why(job: Submitted, view: JobView) -> bool:
    return job.plan.exit_code == 0 or f"exit code {job.plan.exit_code}." in view.runtime_details


def _given_up(job: Submitted, view: JobView, rows: list[JobRow]) -> str:
    """The rule by which the worker gave the job up; empty if it did not."""
    if view.status != "error":
        return ""
    if _BY_CRASHES in view.runtime_details:
        return view.runtime_details
    row = newest(rows, job.plan.number)
    lost = row.run > MAX_RERUNS and row.facts.get("exit") is None
    return f"lost {row.run} times: {view.runtime_details}" if lost else ""


def _cancelled(job: Submitted, evidence: Evidence) -> str:
    """What its owner must be told, if the operator cancelled its last delivery; empty if not."""
    if all(number_of(row) != job.plan.number for row in evidence.rows):
        return ""
    return evidence.orders.cancelled.get(newest(evidence.rows, job.plan.number).key, "")


def _wrong_cancel(job: Submitted, view: JobView, sentence: str, evidence: Evidence) -> list[str]:
    found = {upload.path: upload for upload in evidence.control.uploads(job.id)}
    wrong = [f"{path} is none of its outputs" for path in found.keys() - job.plan.outputs.keys()]
    # Only what had been whole when it was cancelled went up, unless the operator wanted what there was.
    if newest(evidence.rows, job.plan.number).key not in evidence.orders.uploaded_again:
        wrong += [f"{path} differs" for path, upload in found.items() if _differs(upload, job.plan.outputs)]
    # An update that was stored and answered with 500 is sent again, and the service appends its detail again.
    if (view.status, {*view.runtime_details.splitlines()}) != ("error", {sentence}):
        wrong.append(f"is cancelled and ended in {view.status}: {view.runtime_details[:300]!r}")
    return wrong


def _wrong_outputs(job: Submitted, evidence: Evidence) -> list[str]:
    found = {upload.path: upload for upload in evidence.control.uploads(job.id)}
    wanted = job.plan.outputs
    if _robbed(job, evidence):  # the log went with the container
        wanted.pop("log/log/container.log")
        found.pop("log/log/container.log", None)
    wrong = [f"{path} was not uploaded" for path in wanted.keys() - found.keys()]
    wrong += [f"{path} is none of its outputs" for path in found.keys() - wanted.keys()]
    return wrong + [f"{path} differs" for path, upload in found.items() if _differs(upload, wanted)]


def _differs(upload: Upload, wanted: dict[str, str]) -> bool:
    return upload.path in wanted and upload.sha256 != wanted[upload.path]


def _robbed(job: Submitted, evidence: Evidence) -> bool:
    ours = [row for row in evidence.rows if number_of(row) == job.plan.number]
    return any((row.facts.get("run") or {}).get("name") in evidence.robbed for row in ours)


def _disorder(events: list[Event]) -> list[str]:
    """Acknowledged statuses that go back within a lease."""
    furthest: dict[tuple[object, ...], Event] = {}
    found = []
    for event in events:
        if event.kind != "status" or not event.acknowledged:
            continue
        lease = (event.submission, event.lease, event.account)
        before = furthest.setdefault(lease, event)
        if _rank(event) < _rank(before):
            found.append(f"job {event.id}: {event.status} after {before.status} within one lease")
        furthest[lease] = event
    return found


def _rank(event: Event) -> int:
    return ApiStatus(event.status or "").rank


def _excused(violation: Violation, events: list[Event], evidence: Evidence) -> bool:
    """Whether the operator wanted it, or the worker died between the answer that it should have heeded and
    the violation."""
    if violation.rule == _AS_ASKED:
        asked = evidence.orders.uploaded_again
        return any(row.key in asked and row.api_id == str(violation.id) for row in evidence.rows)
    if violation.rule not in _AFTER_A_KILL:
        return False
    answers = [event.time for event in events if _forbids(event, violation)]
    last = max(answers, default=0.0)
    return any(last - _SLACK <= death <= violation.time for death in evidence.deaths)


def _forbids(event: Event, violation: Violation) -> bool:
    """The answer after which the violation must not come."""
    if event.kind != "status" or event.id != violation.id or event.time >= violation.time:
        return False
    if violation.rule == "put_after_404":
        return event.code == 404 and event.answered == 404
    return event.acknowledged and event.status in ("finished", "error")
