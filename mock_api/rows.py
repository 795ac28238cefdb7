"""The service's table of jobs: a row, what fits it, and the settings that rule its life."""

from dataclasses import dataclass, field
from typing import Any

from mock_api.models import JobStates
from mock_api.records import JobView


@dataclass(frozen=True)
class Rules:
    """The service's settings; times in seconds."""

    timeout_failure: float = 300
    """Silence after which a job is queued again, once a scan notices it."""
    scan_period: float = 60
    max_retries: int = 2
    retry_different: bool = True
    """An account that had the job is never offered it again."""
    api_key: str = "mock-api-key"


@dataclass(frozen=True)
class Offer:
    """What a worker says that it has, as the parameters of ``GET /jobs``."""

    memory: int
    cpu_cores: int = 1
    gpu_mem: int = 0
    gpu_model: str | None = None
    gpu_archi: str | None = None
    groups: tuple[str, ...] = ()
    limit: int = 1
    older_than: int = 0


@dataclass
class Row:
    """A job in the service's table."""

    id: int
    submission: int
    job: dict[str, Any]
    environment: str | None
    group: str | None
    priority: int
    created_at: float
    updated_at: float
    status: JobStates = JobStates.QUEUED
    account: str | None = None
    """Whose it is. A job that is queued again stays its last worker's until another pulls it."""
    had_by: set[str] = field(default_factory=set)
    lease: int = 0
    retries: int = 0
    deleted: bool = False
    """The user deleted it; the row goes with the first PUT."""
    details: list[str] = field(default_factory=list)

    def fits(self, offer: Offer) -> bool:
        """Null fits every worker; names must be equal, numbers at most the worker's."""
        hardware = self.job.get("hardware")
        needs = hardware if isinstance(hardware, dict) else {}
        numbers = all(_at_most(needs.get(name), getattr(offer, name)) for name in _NUMBERS)
        return numbers and all(needs.get(name) in (None, getattr(offer, name)) for name in _NAMES)

    def view(self) -> JobView:
        return JobView(
            id=self.id,
            submission=self.submission,
            status=self.status,
            lease=self.lease,
            retries=self.retries,
            account=self.account,
            deleted=self.deleted,
            runtime_details="\n".join(self.details),
            spec=self.job,
        )


_NUMBERS = ("memory", "cpu_cores", "gpu_mem")
_NAMES = ("gpu_model", "gpu_archi")


def _at_most(need: object, have: int) -> bool:
    return not isinstance(need, int | float) or need <= have
