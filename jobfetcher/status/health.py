"""Whether a worker lives, and whether it can take jobs on: read from its own status, as plain values.

Light and pure: the running worker, systemd's watchdog and ``jobfetcher health`` ask the same functions.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from jobfetcher.units import MIB

PATIENCE = {"reporter": 300.0, "worker": 600.0}
"""A thread that has not come round for so many seconds stands still. Each comes round once a minute, but one
call of an engine or an API that hangs may take two."""
LONG_PATIENCE = 3600.0
"""The same for all others: they may be removing the many files of a large job."""
FULL = MIB
"""Bytes: with fewer free the disk counts as full."""
ANSWER_SECONDS = 600.0
"""An answer older than this says nothing about now."""

Status = Mapping[str, Any]
"""What ``Live.as_dict`` gives, and the file ``worker-status.json`` holds."""


class Live(Protocol):
    """The worker's own view of itself."""

    def as_dict(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Disk:
    """The file system of the worker's folder; bytes."""

    free: int
    total: int
    least: int
    """What must stay free."""

    @property
    def is_full(self) -> bool:
        """Next to nothing can be written."""
        return self.free < FULL

    def problems(self, status: Status) -> list[str]:
        """A sentence if it is full; the database's own if that could not be written."""
        if said := status.get("database", {}).get("full"):
            return [said]
        if not self.is_full:
            return []
        return [f"The disk is full: {self.free // 1024} KiB of {self.total // MIB} MiB are free; make room."]


@dataclass(frozen=True)
class Verdict:
    """One sentence for each problem; none: all is well."""

    problems: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        return not self.problems

    @property
    def text(self) -> str:
        """For people: ``ok``, or a line for each problem."""
        return "\n".join(self.problems or ("ok",)) + "\n"

    def as_dict(self) -> dict[str, Any]:
        return {"ok": self.ok, "problems": list(self.problems)}


def alive(status: Status) -> Verdict:
    """The worker's threads turn."""
    now = status["at"]
    age = {name: now - beat for name, beat in status["threads"].items()}
    still = {name: since for name, since in age.items() if since > PATIENCE.get(name, LONG_PATIENCE)}
    return Verdict(
        tuple(
            f"The worker's thread '{name}' has stood still for {seconds:.0f} s; restart the worker."
            for name, seconds in sorted(still.items())
        )
    )


def works(status: Status, disk: Disk) -> Verdict:
    """It lives, and has a disk to write on."""
    return Verdict((*alive(status).problems, *disk.problems(status)))


def ready(status: Status, disk: Disk) -> Verdict:
    """It lives, and nothing keeps it from taking a job on."""
    problems = [*works(status, disk).problems]
    problems += _silent(status, "api", "The API", "check API_URL, the network and the login")
    if status["runner"] == "docker":
        problems += _silent(status, "engine", "The Docker engine", "see whether it runs")
    if FULL <= disk.free < disk.least:
        problems.append(
            f"Only {disk.free // MIB} MiB are free and {disk.least // MIB} MiB must stay free; make room, or "
            "lower MIN_FREE_DISK."
        )
    if status["draining"]:
        problems.append("The worker takes no new jobs: it is draining ('jobfetcher resume' ends that).")
    return Verdict(tuple(problems))


def _silent(status: Status, what: str, name: str, mend: str) -> list[str]:
    answer = status[what]
    if answer["ok"] is None:
        return [f"{name} has not answered since the worker was started; wait a moment, or {mend}."]
    if not answer["ok"]:
        return [f"{name} does not answer ({_said(answer)}); {mend}."]
    if (age := status["at"] - answer["at"]) > ANSWER_SECONDS:
        return [f"{name} has not been heard of for {age:.0f} s; {mend}."]
    return []


def _said(answer: Mapping[str, Any]) -> str:
    return str(answer.get("error") or "no reason given").rstrip(".")
