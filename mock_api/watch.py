"""What a correct worker never does, judged from what it was told.

A worker may repeat whatever it has no answer to; so rules about *after* count only what was
acknowledged, that is, whose answer left on the wire unchanged.
"""

from dataclasses import dataclass, field

from mock_api.models import JobStates
from mock_api.records import Event

GRACE_SECONDS = 5.0
"""Uploads that run side by side with the status that is answered 404 cannot stop at once."""

Finding = tuple[str, str]
"""A rule's name and a sentence."""


@dataclass
class Conduct:
    """One account's dealings with one lease."""

    highest: JobStates = JobStates.PULLED
    """The furthest status that arrived, acknowledged or not."""
    terminal: JobStates | None = None
    """The terminal status that was acknowledged."""
    gone_at: float | None = None
    """When the account was told 404, by the mock's clock."""
    told: set[tuple[JobStates, str]] = field(default_factory=set)
    """Details that were acknowledged, with their status."""


class Watch:
    """Keeps a ``Conduct`` per job id and account, from one pull to the next."""

    def __init__(self) -> None:
        self._conducts: dict[tuple[int, str], Conduct] = {}

    def pulled(self, job_id: int, account: str) -> None:
        """A new lease: what was before is forgotten."""
        self._conducts[job_id, account] = Conduct()

    def status(self, job_id: int, account: str, status: JobStates, detail: str | None) -> list[Finding]:
        """Judge a PUT of a status when it arrives."""
        conduct = self._conducts.get((job_id, account))
        if conduct is None:
            return []
        found = [finding for finding in _judged(conduct, status, detail or "") if finding is not None]
        if status.rank > conduct.highest.rank:
            conduct.highest = status
        return found

    def answered(self, event: Event, status: JobStates, now: float) -> None:
        """The answer to a PUT left on the wire as the rules gave it."""
        conduct = self._conducts.get((event.id or 0, event.account or ""))
        if conduct is None:
            return
        if event.code == 404:
            conduct.gone_at = now
        if event.acknowledged:
            conduct.terminal = conduct.terminal or (status if status.terminal else None)
            if event.detail:
                conduct.told.add((status, event.detail))

    def upload(self, job_id: int, account: str, began: float) -> list[Finding]:
        """Judge an upload that began to arrive at ``began``."""
        conduct = self._conducts.get((job_id, account))
        if conduct is None:
            return []
        if conduct.gone_at is not None:
            late = began > conduct.gone_at + GRACE_SECONDS
            return [("upload_after_404", "An upload began after the job's 404 was sent.")] if late else []
        if conduct.terminal:
            return [("upload_after_terminal", f"An upload came after {conduct.terminal} was acknowledged.")]
        if conduct.highest.rank < JobStates.PREPROCESSING.rank:
            return [("upload_before_status", "An upload came before any status of the lease.")]
        return []


def _judged(conduct: Conduct, status: JobStates, detail: str) -> list[Finding | None]:
    return [
        _after_404(conduct, status),
        _after_terminal(conduct, status) or _back(conduct, status),
        _repeated_detail(conduct, status, detail),
        ("nul_in_details", "runtime_details contain a NUL.") if "\0" in detail else None,
    ]


def _after_404(conduct: Conduct, status: JobStates) -> Finding | None:
    if conduct.gone_at is None:
        return None
    return "put_after_404", f"The status {status} came after the job's 404 was sent."


def _after_terminal(conduct: Conduct, status: JobStates) -> Finding | None:
    if conduct.terminal is None:
        return None
    if status is conduct.terminal:
        return "terminal_repeated", f"The status {status} came again after it was acknowledged."
    return "put_after_terminal", f"The status {status} came after {conduct.terminal} was acknowledged."


def _back(conduct: Conduct, status: JobStates) -> Finding | None:
    changed_end = status.terminal and conduct.highest.terminal and status is not conduct.highest
    if status.rank >= conduct.highest.rank and not changed_end:
        return None
    return "status_went_back", f"The status {status} came after {conduct.highest}."


def _repeated_detail(conduct: Conduct, status: JobStates, detail: str) -> Finding | None:
    if not detail or (status, detail) not in conduct.told or conduct.terminal:
        return None
    return "details_repeated", f"The same runtime_details came again with {status}."
