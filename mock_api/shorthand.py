"""A job in few words: what is left out is filled with something that fits every worker."""

import itertools
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

_NUMBERS = itertools.count(1001)
_HARDWARE = ("cpu_cores", "memory", "gpu_model", "gpu_archi", "gpu_mem")


@dataclass(frozen=True)
class Submission:
    """What the queue needs to know."""

    job: dict[str, Any]
    environment: str | None
    group: str | None
    priority: int


def submission(body: dict[str, Any]) -> Submission:
    """Read a SubmittedJob (it has ``job``), or a shorthand.

    The shorthand's keys are ``image cmd env entrypoint files_down files_up hardware meta
    environment group priority``, none of them required.
    """
    return Submission(
        job=body["job"] if "job" in body else _job(body),
        environment=body.get("environment"),
        group=body.get("group"),
        priority=body.get("priority", 5),
    )


def _job(short: dict[str, Any]) -> dict[str, Any]:
    now = datetime.now(UTC).replace(tzinfo=None).isoformat()
    return {
        "app": {"cmd": short.get("cmd"), "env": short.get("env")},
        "handler": {
            "image_url": short.get("image", "mock:latest"),
            "image_name": None,
            "image_version": None,
            "entrypoint": short.get("entrypoint"),
            "files_down": short.get("files_down"),
            "files_up": short.get("files_up"),
        },
        "meta": {"job_id": next(_NUMBERS), "date_created": now, **short.get("meta", {})},
        "hardware": {**dict.fromkeys(_HARDWARE), **short.get("hardware", {})},
    }
