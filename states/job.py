"""A job as the worker knows it: a frozen value that is changed only by its named methods."""

import hashlib
from enum import StrEnum
from typing import Self

from pydantic import BaseModel, ConfigDict

from states.spec import JobSpec


class JobState(StrEnum):
    """Where a job is in its life."""

    FETCHED = "fetched"
    DOWNLOADING = "downloading"
    RUNNING = "running"
    UPLOADING = "uploading"
    FINISHED = "finished"
    ERROR = "error"
    CANCELLED = "cancelled"


class ApiStatus(StrEnum):
    """What the API calls it. Listed in the only order in which the API may see them."""

    QUEUED = "queued"
    PULLED = "pulled"
    PREPROCESSING = "preprocessing"
    RUNNING = "running"
    POSTPROCESSING = "postprocessing"
    FINISHED = "finished"
    ERROR = "error"

    @property
    def rank(self) -> int:
        """Position in a job's life; ``finished`` and ``error`` share the last one."""
        return min(list(ApiStatus).index(self), list(ApiStatus).index(ApiStatus.FINISHED))


class Trigger(StrEnum):
    """Why a job leaves a state."""

    ACCEPTED = "accepted"
    DOWNLOADED = "downloaded"
    EXITED = "exited"
    LOST = "lost"
    UPLOADED = "uploaded"
    FAILED = "failed"
    GONE = "gone"


class _Frozen(BaseModel):
    # Each job's texts are its own: a cache of them would only grow.
    model_config = ConfigDict(frozen=True, cache_strings="none")


class Run(_Frozen):
    """One container (or process) made for a job: enough to find it again after a crash."""

    name: str
    """``jobfetcher-<worker>-<job>-<run>``: fixed, so that the engine's own name check is the lock."""
    id: str
    """The runner's id of it. It does not change as long as it is the same container."""
    epoch: str = ""
    """The engine epoch (boot of the host, start of the engine) in which it was last seen alive."""


class Exit(_Frozen):
    """How a run ended by itself, as observed within one engine epoch."""

    code: int
    reason: str = ""
    """A sentence where the code does not say enough ("killed: out of memory (limit 512 MiB)")."""
    started_at: float | None = None
    """Seconds since the epoch, by the engine's clock."""
    finished_at: float | None = None

    @property
    def ok(self) -> bool:
        return self.code == 0 and not self.reason


class Share(_Frozen):
    """The part of the machine that a job holds, besides GPUs. Neither is limited: all of it."""

    cpu_cores: float | None = None
    memory: int | None = None
    """MiB."""

    @property
    def is_whole(self) -> bool:
        return self.cpu_cores is None and self.memory is None


class Facts(_Frozen):
    """What was observed on the way, and must survive a crash."""

    image_id: str | None = None
    """The exact image this run uses: tags move."""
    share: Share | None = None
    """What the job holds of the machine until its end; None: nothing yet."""
    gpus: tuple[str, ...] = ()
    """UUIDs of the GPUs that the job holds until its end."""
    run: Run | None = None
    """The container, once it is created."""
    exit: Exit | None = None
    detail: str = ""
    """What the owner is told with the terminal status."""
    stumbled: str = ""
    """The last unexpected error, kept for the message if attempts run out."""


class Job(_Frozen):
    """One lease of one job."""

    key: int
    """The store's own number: unlike the API's id it is never reused."""
    worker: str
    """The worker (state folder) that holds the lease."""
    spec: JobSpec
    delivery: int = 1
    """How many times the API has handed this lease out to us after taking it back."""
    state: JobState = JobState.FETCHED
    version: int = 1
    """Grows with each move; guards every write."""
    attempts: int = 0
    """Tries begun in this state without progress."""
    run: int = 1
    """Number of the current run of the container; grows when a run is lost."""
    told: ApiStatus = ApiStatus.PREPROCESSING
    """The furthest status queued for the API: what it sees never goes back."""
    gone: bool = False
    """The API answered 404 for this lease."""
    facts: Facts = Facts()
    created_at: float = 0.0
    """Seconds since the epoch, for people only."""
    updated_at: float = 0.0

    @property
    def id(self) -> str:
        """The API's id of the job."""
        return self.spec.id

    @property
    def slug(self) -> str:
        """Names the job in folders and containers; differs between leases that share an id."""
        tag = hashlib.sha256(self.spec.lease.encode()).hexdigest()[:8]
        name = "".join(c if c.isascii() and c.isalnum() else "_" for c in self.id)[:32] or "_"
        return f"{name}-{tag}" + (f"-{self.delivery}" if self.delivery > 1 else "")

    @property
    def run_name(self) -> str:
        """The fixed name of the current run's container."""
        return f"jobfetcher-{self.worker}-{self.slug}-{self.run}"

    def with_facts(self, **changes: object) -> Self:
        """The same job, knowing more."""
        return self.model_copy(update={"facts": self.facts.model_copy(update=changes)})

    def moved_to(self, state: JobState, told: ApiStatus) -> Self:
        """The same job in another state, with its attempts there still to come."""
        facts = self.facts.model_copy(update={"stumbled": ""})
        return self.model_copy(update={"state": state, "told": told, "attempts": 0, "facts": facts})

    def begun(self) -> Self:
        """The same job with one more try of its step begun."""
        return self.model_copy(update={"attempts": self.attempts + 1})

    def run_again(self) -> Self:
        """The same job with a new run ahead, of which nothing is known. It keeps what it holds."""
        facts = Facts(share=self.facts.share, gpus=self.facts.gpus, detail=self.facts.detail)
        return self.model_copy(update={"run": self.run + 1, "facts": facts})


class StatusUpdate(_Frozen):
    """A row of the outbox: one status that the API must hear."""

    id: int
    job_key: int
    job_id: str
    status: ApiStatus
    detail: str = ""
    followed: bool = False
    """Another one of its job waits behind it."""
