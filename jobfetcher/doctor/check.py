"""What a check finds: a name, how it stands, what was seen, and how to mend it."""

from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """How a check ends."""

    OK = "ok"
    WARNING = "warning"
    """The worker works, but less well than it could."""
    FAILED = "failed"
    """The worker cannot do its work."""
    SKIPPED = "skipped"
    """Not looked at; what was seen says why."""


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    name: str
    status: Status
    found: str
    """What was seen, in a few words."""
    mend: str = ""
    """What to do about it, in one sentence; empty if there is nothing to do."""


def ok(name: str, found: str) -> Check:
    return Check(name, Status.OK, found)


def warning(name: str, found: str, mend: str) -> Check:
    return Check(name, Status.WARNING, found, mend)


def failed(name: str, found: str, mend: str) -> Check:
    return Check(name, Status.FAILED, found, mend)


def skipped(name: str, why: str, mend: str = "") -> Check:
    return Check(name, Status.SKIPPED, why, mend)
