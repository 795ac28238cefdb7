"""Reads the engine's account of a container's state."""

import re
from datetime import datetime
from typing import Any

from jobfetcher.units import MIB
from states.job import Exit

_FRACTION = re.compile(r"\.(\d{1,6})\d*")


def seconds(stamp: str) -> float | None:
    """An engine's time stamp as seconds since the epoch; None for its zero (``0001-01-01``).

    The fraction has up to nine digits, of which six are kept.
    """
    if not stamp or stamp.startswith("0001-"):
        return None
    return datetime.fromisoformat(_FRACTION.sub(r".\1", stamp)).timestamp()


def ever_started(found: dict[str, Any]) -> bool:
    """The container's command has run, or still runs."""
    return seconds(found["State"].get("StartedAt", "")) is not None


def is_alive(found: dict[str, Any]) -> bool:
    """It is running, paused or about to be restarted."""
    return found["State"]["Status"] in {"running", "paused", "restarting"}


def is_going(found: dict[str, Any]) -> bool:
    """Its removal has begun."""
    return found["State"]["Status"] in {"removing", "dead"}


def exit_of(found: dict[str, Any], out_of_memory: bool = False) -> Exit:
    """How an exited container ended. ``out_of_memory``: it is known that memory ran out."""
    state = found["State"]
    return Exit(
        code=state["ExitCode"],
        reason=_out_of_memory(found) if out_of_memory or state.get("OOMKilled") else "",
        started_at=seconds(state["StartedAt"]),
        finished_at=seconds(state["FinishedAt"]),
    )


def why_not_started(found: dict[str, Any] | None, refusal: str = "") -> str:
    """A sentence for the owner of a job whose container the engine refused to start."""
    reason = ((found or {}).get("State", {}).get("Error") or refusal).strip().rstrip(".")
    if "could not select device driver" in reason:
        return f"The engine gives no GPUs to containers; install the NVIDIA Container Toolkit ({reason})."
    return f"The container cannot be started: {reason}."


def _out_of_memory(found: dict[str, Any]) -> str:
    limit = found["HostConfig"].get("Memory") or 0
    known = f"limit {limit // MIB} MiB" if limit else "no limit set: the machine ran out"
    return f"killed: out of memory ({known})"
