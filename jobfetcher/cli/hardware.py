"""Prints what the machine has, what jobs hold of it, and what is offered to the API."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from jobfetcher.cli import look
from jobfetcher.hardware import Hardware, collect, complaints
from jobfetcher.offer import resources
from jobfetcher.settings import Settings, SettingsError, load
from jobfetcher.shares import holders, offered, shared_out
from persistence.errors import StoreMissing
from persistence.rows import JobRow
from states.job import Facts, Job, JobState
from states.spec import JobSpec
from states.table import LIVE


def print_hardware(json_wanted: bool) -> None:
    """Print it. Complete settings are not needed. Raises ``persistence.errors`` and ``Unanswerable``."""
    try:
        settings = load()
    except SettingsError:
        settings = Settings.model_construct()  # the defaults: one job at once, no groups, no waiting
    with complaints() as said:
        machine = collect()
    report = {**described(machine, live_jobs(), settings), "gpu_troubles": said}
    if json_wanted:
        look.as_json(report)
    else:
        _draw(machine, report)


def live_jobs() -> list[Job]:
    """The jobs that the worker has taken on, oldest first; none where there is no database yet."""
    try:
        with look.database(None) as reader:
            return [_job(row) for row in reversed(reader.jobs(LIVE))]
    except StoreMissing:
        return []


def described(machine: Hardware, jobs: Sequence[Job], settings: Settings) -> dict[str, Any]:
    """All of it for programs; memory in MiB. ``offered``: None while nothing useful is free."""
    book = shared_out(machine, settings.max_jobs, holders(jobs))
    free = book.free
    full = len(jobs) >= settings.max_jobs
    can_be_had = None if full else offered(machine, book)
    told = resources(settings, can_be_had).model_dump() if can_be_had else None
    return {
        "has": asdict(machine),
        "held": {
            "memory": machine.memory - free.memory,
            "cpu_cores": round(machine.cpu_cores - free.cpu_cores, 2),
            "gpus": sorted({gpu.uuid for gpu in machine.gpus} - {gpu.uuid for gpu in free.gpus}),
        },
        "jobs": [_holding(job) for job in holders(jobs)],
        "free": {**asdict(free), "memory": min(free.memory, machine.available)},
        "places": settings.max_jobs,
        "offered": told,
    }


def _holding(job: Job) -> dict[str, Any]:
    share = job.facts.share
    return {
        "id": job.id,
        "state": str(job.state),
        "cpu_cores": share.cpu_cores if share else None,
        "memory": share.memory if share else None,
        "gpus": job.facts.gpus,
        "whole": share.is_whole if share else False,
    }


def _draw(machine: Hardware, report: dict[str, Any]) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("")
    for name in ("TOTAL", "HELD", "FREE"):
        table.add_column(name, justify="right")
    held, free = report["held"], report["free"]
    table.add_row("memory", *(f"{mib} MiB" for mib in (machine.memory, held["memory"], free["memory"])))
    table.add_row("CPU cores", *(f"{n:g}" for n in (machine.cpu_cores, held["cpu_cores"], free["cpu_cores"])))
    table.add_row("GPUs", str(len(machine.gpus)), str(len(held["gpus"])), str(len(free["gpus"])))
    table.add_row("jobs", str(report["places"]), str(len(report["jobs"])), str(_places_left(report)))
    look.draw(table)
    for line in [*_gpu_lines(machine, report), *_trouble_lines(report), *_job_lines(report)]:
        look.draw(look.plain(line))
    look.draw(look.plain(f"\n{_told(report['offered'])}"))


def _places_left(report: dict[str, Any]) -> int:
    return max(0, int(report["places"]) - len(report["jobs"]))


def _gpu_lines(machine: Hardware, report: dict[str, Any]) -> list[str]:
    holders = {uuid: job["id"] for job in report["jobs"] for uuid in job["gpus"]}
    lines = []
    for gpu in machine.gpus:
        holder = f"held by job {holders[gpu.uuid]}" if gpu.uuid in holders else "free"
        sizes = f"{gpu.free} of {gpu.memory} MiB unused"
        lines.append(f"GPU {gpu.uuid}: {gpu.model}, {gpu.architecture}, {sizes}, {holder}")
    return ["", *lines] if lines else []


def _trouble_lines(report: dict[str, Any]) -> list[str]:
    said = [f"trouble with GPUs: {trouble}" for trouble in report["gpu_troubles"]]
    return ["", *said, "'jobfetcher doctor' says what to do."] if said else []


def _job_lines(report: dict[str, Any]) -> list[str]:
    lines = []
    for job in report["jobs"]:
        if job["whole"]:
            held = "the whole machine"
        elif job["memory"] is None:
            held = "nothing yet"
        else:
            gpus = len(job["gpus"])
            held = f"{job['cpu_cores']:g} cores, {job['memory']} MiB, {gpus} GPU{'s' if gpus != 1 else ''}"
        lines.append(f"job {job['id']} ({job['state']}) holds {held}")
    return ["", *lines] if lines else []


def _told(offer: dict[str, Any] | None) -> str:
    if offer is None:
        return "The API is asked for nothing: no place is free, or too little of the machine."
    words = ", ".join(f"{name}={value}" for name, value in offer.items() if value not in (None, (), 0))
    return f"The API is told: {words}"


def _job(row: JobRow) -> Job:
    return Job(
        key=row.key,
        worker=row.worker,
        spec=JobSpec.model_validate(row.spec),
        state=JobState(row.state),
        facts=Facts.model_validate(row.facts),
    )
