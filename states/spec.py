"""A job's specification, as ``GET /jobs`` delivers it.

Unknown fields are kept, never refused; a specification that does not validate still becomes a
``JobSpec``, with the reason in ``problem``, so that its owner is told instead of left waiting.
"""

import hashlib
import json
from enum import StrEnum
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError


class FileType(StrEnum):
    """What an uploaded file is to the API."""

    OUTPUT = "output"
    LOG = "log"
    ARTIFACT = "artifact"


class _Tolerant(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True, coerce_numbers_to_str=True)


class AppSpec(_Tolerant):
    """What runs in the container."""

    cmd: list[str] | None = None
    """Shell fragments, joined with spaces and run by ``/bin/sh -c``; None: the image's own command."""
    env: dict[str, str] | None = None


class HandlerSpec(_Tolerant):
    """Which image runs, and which files go in and out."""

    image_url: str
    image_name: str | None = None
    image_version: str | None = None
    entrypoint: str | None = None
    """The *name* of the application's entry point ("train"); never a Docker entrypoint."""
    files_down: dict[str, str] | None = None
    """Path under ``/files`` → file id."""
    files_up: dict[FileType, str] | None = None
    """Type → folder under ``/files`` whose every file goes up with that type."""


class MetaSpec(_Tolerant):
    """Who the job is to the user-facing API."""

    job_id: int
    date_created: str


class HardwareSpec(_Tolerant):
    """What the job asks of a machine; None: nothing. ``memory`` and ``gpu_mem`` are MiB."""

    cpu_cores: int | None = None
    memory: int | None = None
    gpu_model: str | None = None
    gpu_archi: str | None = None
    gpu_mem: int | None = None


class JobSpec(_Tolerant):
    """One job. ``id`` is the key of ``GET /jobs``; ``meta.job_id`` is another number."""

    id: str
    app: AppSpec = AppSpec()
    handler: HandlerSpec = HandlerSpec(image_url="")
    meta: MetaSpec | None = None
    hardware: HardwareSpec = HardwareSpec()
    problem: str | None = None
    """Why the specification could not be read, as a sentence; None if it could."""
    unreadable: Any = None
    """What the API sent, kept whole where it could not be read."""

    @classmethod
    def parse(cls, job_id: str, raw: object) -> Self:
        """Read what the API sent for ``job_id``. Never raises: what is wrong lands in ``problem``."""
        sent = json.dumps([job_id, raw], ensure_ascii=False)
        whole = sent.encode(errors="replace")
        if whole.decode() != sent:
            job_id, raw = json.loads(whole)
            return cls(id=job_id, unreadable=raw, problem="The job's specification holds half a character.")
        if not isinstance(raw, dict):
            return cls(id=job_id, unreadable=raw, problem="The job's specification is not an object.")
        try:
            known = {"id": job_id, "problem": None, "unreadable": None}
            spec = cls.model_validate({**raw, **known})
            missing = [name for name in ("app", "handler", "meta", "hardware") if raw.get(name) is None]
            if not missing:
                return spec
            wrong = ", ".join(f"{name}: is missing" for name in missing)
        except ValidationError as error:
            wrong = "; ".join(f"{_place(item['loc'])}: {item['msg']}" for item in error.errors()[:5])
        problem = f"The job's specification cannot be read ({wrong})."
        return cls(id=job_id, unreadable=raw, problem=problem)

    @property
    def lease(self) -> str:
        """What tells this job from a later one with the same id (the API reuses ids of deleted jobs)."""
        if self.meta is not None:
            return f"{self.id}/{self.meta.job_id}/{self.meta.date_created}"
        text = json.dumps(self.unreadable, sort_keys=True, default=str)
        return f"{self.id}/unreadable/{hashlib.sha256(text.encode()).hexdigest()[:16]}"

    @property
    def command(self) -> str | None:
        """The shell command as the API means it, or None for the image's own."""
        return None if self.app.cmd is None else " ".join(self.app.cmd)


def _place(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location) or "specification"
