"""What goes over the wire, with exactly the schemas of the service's own OpenAPI document.

The classes have no docstrings because FastAPI would put them into that document.
"""

from enum import Enum, StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict


class JobStates(StrEnum):
    # In the document's order; ``rank`` gives the order of a life.
    QUEUED = "queued"
    PREPROCESSING = "preprocessing"
    PULLED = "pulled"
    RUNNING = "running"
    POSTPROCESSING = "postprocessing"
    FINISHED = "finished"
    ERROR = "error"

    @property
    def rank(self) -> int:
        """Position in a job's life; ``finished`` and ``error`` share the last one."""
        return _RANKS[self]

    @property
    def terminal(self) -> bool:
        return self in (JobStates.FINISHED, JobStates.ERROR)


_RANKS = {
    JobStates.QUEUED: 0,
    JobStates.PULLED: 1,
    JobStates.PREPROCESSING: 2,
    JobStates.RUNNING: 3,
    JobStates.POSTPROCESSING: 4,
    JobStates.FINISHED: 5,
    JobStates.ERROR: 5,
}


class UploadType(StrEnum):
    OUTPUT = "output"
    LOG = "log"
    ARTIFACT = "artifact"


class AccessType(StrEnum):
    COGNITO = "cognito"


class EnvironmentTypes(Enum):
    CLOUD = "cloud"
    LOCAL = "local"
    ANY = None


class AppSpecs(BaseModel):
    cmd: list[str] | None = None
    env: dict[str, str] | None = None


class HandlerSpecs(BaseModel):
    image_url: str
    image_name: str | None = None
    image_version: str | None = None
    entrypoint: str | None = None
    files_down: dict[str, str] | None = None
    files_up: dict[Literal["output", "log", "artifact"], str] | None = None


class MetaSpecs(BaseModel):
    model_config = ConfigDict(extra="allow")

    job_id: int
    date_created: str


class HardwareSpecs(BaseModel):
    cpu_cores: int | None = None
    memory: int | None = None
    gpu_model: str | None = None
    gpu_archi: str | None = None
    gpu_mem: int | None = None


class JobSpecs(BaseModel):
    app: AppSpecs
    handler: HandlerSpecs
    meta: MetaSpecs
    hardware: HardwareSpecs


class PathsUploadSpecs(BaseModel):
    output: str
    log: str
    artifact: str


class SubmittedJob(BaseModel):
    job: JobSpecs
    environment: EnvironmentTypes = EnvironmentTypes.ANY
    group: str | None = None
    priority: int = 5
    paths_upload: PathsUploadSpecs


class FileHTTPRequest(BaseModel):
    method: str
    url: str
    headers: dict[str, str | dict[str, str]] = {}
    data: dict[str, str] = {}
