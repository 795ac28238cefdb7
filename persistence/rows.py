"""The tables' rows as plain frozen values: each field is a column of the same name."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class JobRow:
    """A row of ``jobs``, with its specification and facts parsed."""

    key: int
    worker: str
    lease: str
    delivery: int
    api_id: str
    state: str
    version: int
    attempts: int
    run: int
    told: str
    gone: bool
    spec: dict[str, Any]
    facts: dict[str, Any]
    created_at: float
    updated_at: float
    swept_at: float | None


@dataclass(frozen=True)
class MoveRow:
    """A row of ``moves``."""

    id: int
    job_key: int
    at: float
    source: str | None
    target: str
    because: str | None
    run: int
    attempts: int
    """Tries that the job had begun in ``source``."""
    detail: str


@dataclass(frozen=True)
class OutboxRow:
    """A row of ``outbox``."""

    id: int
    job_key: int
    status: str
    detail: str
    queued_at: float
    sent_at: float | None


@dataclass(frozen=True)
class FileRow:
    """A row of ``files``; ``size`` in bytes, ``seconds`` is how long the transfer took."""

    job_key: int
    direction: str
    kind: str
    path: str
    size: int
    sha256: str
    at: float
    seconds: float


@dataclass(frozen=True)
class LiveJob:
    """What changes of a job that is not in a terminal state: a few columns, so that one may look often."""

    key: int
    api_id: str
    state: str
    attempts: int
