"""How far the transfers and pulls of live jobs are, in words: from the worker's status file."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from jobfetcher import board_file
from jobfetcher.environment import folder_at
from jobfetcher.environment import path_base as configured
from jobfetcher.units import size, span

Meters = Mapping[str, list[dict[str, Any]]]
"""What is under way, by the job's key; each is a ``jobfetcher.progress.Reading`` as plain values."""
NOTHING: Meters = MappingProxyType({})
PHASES = {"download": "downloading", "pull": "pulling", "upload": "uploading"}
PARTS = {"download": "files", "pull": "layers", "upload": "files"}


def meters(path_base: Path | None) -> Meters:
    """What the worker of that folder (default: the settings') is doing; nothing if none runs."""
    status = board_file.read(folder_at(path_base) if path_base else configured()) or {}
    return {key: job.get("meters") or [] for key, job in (status.get("jobs") or {}).items()}


def brief(readings: Iterable[Mapping[str, Any]]) -> str:
    """One line: ``62 % of 1.4 GiB, 38.0 MiB/s, 14 s left; pulling 1 of 7 layers``."""
    return "; ".join(_unpacking(reading) or _moving(reading) for reading in readings)


def lines(readings: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Each thing that is under way, by its name: ``downloading`` → ``62 % of 1.4 GiB, 3 of 20 files, …``."""
    return {
        PHASES[reading["phase"]]: _unpacking(reading) or f"{_far(reading)}{_parts(reading)}{_pace(reading)}"
        for reading in readings
    }


def _unpacking(reading: Mapping[str, Any]) -> str:
    """Empty unless it is a pull whose bytes are all here: then the engine is busy for a while more."""
    over = reading["phase"] == "pull" and reading["total"] and reading["done"] >= reading["total"]
    return f"unpacking {size(reading['total'])}" if over else ""


def _moving(reading: Mapping[str, Any]) -> str:
    verb = "pulling " if reading["phase"] == "pull" else ""
    return f"{verb}{_far(reading)}{_pace(reading)}"


def _far(reading: Mapping[str, Any]) -> str:
    done, total, files = reading["done"], reading["total"], reading["files_total"]
    if total:
        return f"{100 * done // total} % of {size(total)}"
    counted = f"{reading['files']} of {files} {PARTS[reading['phase']]}" if files else ""
    return ", ".join(filter(None, (counted, size(done) if done else ""))) or "beginning"


def _parts(reading: Mapping[str, Any]) -> str:
    files = reading["files_total"]
    return f", {reading['files']} of {files} {PARTS[reading['phase']]}" if reading["total"] and files else ""


def _pace(reading: Mapping[str, Any]) -> str:
    rate, left = reading["rate"], reading["seconds_left"]
    said = f", {size(rate)}/s" if rate >= 1 else ""
    return said + (f", {span(left)} left" if said and left else "")
