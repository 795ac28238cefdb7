"""What the mock remembers for those who test against it. Shared by the server and its client."""

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Event:
    """One thing that happened to a job, or a file, or the queue."""

    number: int
    """Counts all events of the server, from 1."""
    time: float
    """Seconds since the epoch, by the mock's clock."""
    kind: str
    """``queued pulled status deleted requeued given_up upload_url upload download_url download``."""
    id: int | None = None
    """The job; None where no job is known."""
    submission: int | None = None
    """Tells apart jobs that had the same id, one after the other."""
    lease: int | None = None
    """How often the job has been pulled so far."""
    account: str | None = None
    status: str | None = None
    """The status of the job when it happened; of a ``status`` event the one that was sent."""
    detail: str | None = None
    """``runtime_details``, a file's name or id, or the reason."""
    code: int | None = None
    """The answer that the API's rules gave."""
    answered: int | None = None
    """The answer that left on the wire: another one, or None, where a fault was scripted."""

    @property
    def acknowledged(self) -> bool:
        """The caller was told that it worked."""
        return self.code is not None and self.code < 300 and self.answered == self.code


@dataclass(frozen=True)
class Violation:
    """Something that a correct worker never does."""

    rule: str
    """Name of the rule, see ``docs/mock-api.md``."""
    time: float
    id: int | None
    account: str | None
    sentence: str


@dataclass(frozen=True)
class Upload:
    """An uploaded file, as it is after its latest upload."""

    id: int
    submission: int
    lease: int
    type: str
    base_path: str
    name: str
    size: int
    """Bytes."""
    sha256: str
    times: int
    """How often it was uploaded in this submission."""

    @property
    def path(self) -> str:
        """``type/base_path/name``, with single slashes."""
        return "/".join(part for part in (self.type, *self.base_path.split("/"), self.name) if part)


@dataclass(frozen=True)
class JobView:
    """A job as the user sees it."""

    id: int
    submission: int
    status: str
    lease: int
    retries: int
    account: str | None
    deleted: bool
    runtime_details: str
    spec: dict[str, Any]


@dataclass(frozen=True)
class FaultReport:
    """A scripted fault, and how often it fired."""

    id: int
    kind: str
    fired: int
    left: int | None
    """How often it will fire yet; None: without end."""
    match: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RequestRecord:
    """One request, in the order in which the answers left."""

    time: float
    method: str
    path: str
    query: str
    code: int | None
    """None: no answer left."""
    account: str | None = None
    fault: int | None = None
    """The fault that was played on it."""
    range: str | None = None
