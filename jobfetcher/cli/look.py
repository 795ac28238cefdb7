"""Prints what the database knows. Reads it with the standard library alone, whether the worker runs or
not; rich is loaded only where a table is drawn."""

import json
import os
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobfetcher.cli import moving
from jobfetcher.environment import database_url, folder_at
from jobfetcher.units import size as size  # others find it here too
from jobfetcher.units import span as span
from persistence import path
from persistence.reader import JobRow, MoveRow, Reader, open_reader

if TYPE_CHECKING:
    from rich.console import RenderableType

COLOURS = {"finished": "green", "error": "red", "cancelled": "dim", "running": "cyan"}
TERMINAL = ("finished", "error", "cancelled")


class Unanswerable(Exception):
    """What was asked for is not there. The message says what to ask instead.

    ``code`` is what the command ends with.
    """

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code


def database(path_base: Path | None) -> Reader:
    """The worker's database, for reading. Raises ``Unanswerable`` and ``persistence.errors``."""
    return open_reader(database_file(path_base))


def database_file(path_base: Path | None) -> Path:
    """Where the worker's database is. Raises ``Unanswerable``."""
    url = path.url_of(folder_at(path_base) / "jobfetcher.db") if path_base else database_url()
    file = path.path_of(url)
    if file is None:
        raise Unanswerable(
            f"The database {url.split('@')[-1]} is no SQLite file; look at it with its own tools."
        )
    return file


def one(reader: Reader, job_id: str) -> JobRow:
    """The newest job with that id. Raises ``Unanswerable`` if there is none."""
    rows = reader.job(job_id)
    if not rows:
        raise Unanswerable(f"There is no job {job_id!r} in this database. 'jobfetcher jobs' lists them.")
    return rows[0]


def clock(seconds: float) -> str:
    """Local date and time."""
    return datetime.fromtimestamp(seconds, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def as_json(value: object) -> None:
    """Print for programs."""
    print(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def summary(row: JobRow, unsent: int, meters: moving.Meters = moving.NOTHING) -> dict[str, Any]:
    """A job in one line, for programs and for the table. ``meters`` tell what is under way."""
    return {
        "id": row.api_id,
        "state": row.state,
        "since": row.updated_at,
        "created": row.created_at,
        "run": row.run,
        "attempts": row.attempts,
        "image": (row.spec.get("handler") or {}).get("image_url", ""),
        "told": row.told,
        "unsent": unsent,
        "gone": bool(row.gone),
        "progress": [] if row.state in TERMINAL else meters.get(str(row.key), []),
        "detail": row.facts.get("detail") or "",
    }


def plain(text: object) -> str:
    """Text from outside, harmless on a terminal: no markup, no control characters."""
    from rich.markup import escape

    return escape(harmless(text))


def harmless(text: object, keep: str = "\n") -> str:
    """Text from outside without control characters, but for those in ``keep``."""
    return "".join(c if c.isprintable() or c in keep else "\N{REPLACEMENT CHARACTER}" for c in str(text))


def on_terminal() -> bool:
    """Whether what is printed may have colours and must fit a width."""
    return sys.stdout.isatty() or bool(os.environ.get("FORCE_COLOR"))


def draw(*parts: "RenderableType") -> None:
    """Print for people."""
    from rich.console import Console

    console = Console(highlight=False)
    if not console.is_terminal:  # a pipe has no width: let no column be cut there
        console.width = 200
    for part in parts:
        console.print(part)


def path_of(job: JobRow, reader: Reader) -> list[tuple[str, str]]:
    """The moves of a job as (source, target)."""
    return [(move.source, move.target) for move in reader.moves(job.key) if move.source]


def stays(moves: Sequence[MoveRow], now: float) -> list[dict[str, Any]]:
    """The timeline: each state with when it was entered, why, and how long it lasted, in seconds."""
    ends = [move.at for move in moves[1:]] + [now]
    return [
        {
            "state": move.target,
            "entered": move.at,
            "because": move.because or "fetched from the API",
            "seconds": None if move.target in TERMINAL else round(max(0.0, end - move.at), 3),
            "run": move.run,
        }
        for move, end in zip(moves, ends, strict=True)
    ]


def everything(row: JobRow, reader: Reader, meters: moving.Meters = moving.NOTHING) -> dict[str, Any]:
    """All that is known of a job. ``meters`` tell what is under way."""
    unsent = len(reader.outbox(row.key, only_unsent=True))
    return {
        **summary(row, unsent, meters),
        "lease": row.lease,
        "delivery": row.delivery,
        "container": row.facts.get("run"),
        "image_id": row.facts.get("image_id"),
        "gpus": row.facts.get("gpus") or [],
        "exit": row.facts.get("exit"),
        "spec": row.spec,
        "moves": stays(reader.moves(row.key), time.time()),
        "outbox": [asdict(update) for update in reader.outbox(row.key)],
        "files": [asdict(file) for file in reader.files(row.key)],
    }


def print_job(row: JobRow, reader: Reader, json_wanted: bool, path_base: Path | None) -> None:
    """One job, whole."""
    known = everything(row, reader, moving.meters(path_base))
    if json_wanted:
        as_json(known)
    else:
        draw(*job_parts(known))


def job_parts(known: dict[str, Any]) -> "list[RenderableType]":
    """One job for people, part by part."""
    parts: list[RenderableType] = [
        f"[bold]Job {plain(known['id'])}[/]  {known['state']}"
        + ("  (the API has taken it back)" if known["gone"] else ""),
        _facts(known),
        "\n[bold]Timeline[/]",
        timeline(known["moves"]),
    ]
    if known["files"]:
        parts += ["\n[bold]Files[/]", _files(known["files"])]
    unsent = [update for update in known["outbox"] if update["sent_at"] is None]
    told = ", ".join(u["status"] for u in known["outbox"] if u["sent_at"] is not None) or "nothing yet"
    parts.append(f"\n[bold]The API[/] has heard: {told}")
    if unsent:
        parts.append(f"  yet to hear: [yellow]{', '.join(u['status'] for u in unsent)}[/]")
    if known["detail"]:
        parts += ["\n[bold]Detail[/]", plain(known["detail"])]
    return parts


def _facts(known: dict[str, Any]) -> "RenderableType":
    from rich.table import Table

    ended = known["exit"] or {}
    code = "" if not ended else f"{ended.get('code')} {ended.get('reason') or ''}"
    app = known["spec"].get("app") or {}
    attempt = "" if known["state"] in TERMINAL else f", attempt {max(1, known['attempts'])}"
    rows = {
        "image": f"{known['image']} {known['image_id'] or ''}",
        "command": " ".join(app.get("cmd") or ["(the image's own)"]),
        "container": (known["container"] or {}).get("name", "none yet"),
        "run": f"{known['run']}{attempt}",
        **moving.lines(known["progress"]),
        "exit code": code,
        "GPUs": ", ".join(known["gpus"]),
        "lease": known["lease"],
    }
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows.items():
        if value:
            table.add_row(name, plain(value))
    return table


def timeline(moves: Iterable[dict[str, Any]]) -> "RenderableType":
    """The table of ``stays``."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("entered")
    table.add_column("state")
    table.add_column("lasted", justify="right")
    table.add_column("because")
    for stay in moves:
        lasted = "" if stay["seconds"] is None else span(stay["seconds"])
        table.add_row(clock(stay["entered"]), stay["state"], lasted, plain(stay["because"]))
    return table


def _files(files: Iterable[dict[str, Any]]) -> "RenderableType":
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("way", "type", "path", "size", "SHA-256"):
        table.add_column(title, justify="right" if title == "size" else "left", overflow="fold")
    for file in files:
        digest = (file["sha256"] or "-")[:16]
        path = plain(harmless(file["path"], keep=""))
        table.add_row(file["direction"], file["kind"], path, size(file["size"]), digest)
    return table


def print_graph(drawing: str, path: list[tuple[str, str]], current: str | None, json_wanted: bool) -> None:
    """The machine, with one job's path if there is one."""
    from states import diagram
    from states.job import JobState
    from states.table import TABLE

    steps = [(JobState(source), JobState(target)) for source, target in path]
    here = JobState(current) if current else None
    if json_wanted:
        edges = [
            {"from": source, "by": edge.trigger, "to": edge.target}
            for source, row in TABLE.items()
            for edge in row.edges
        ]
        as_json({"states": list(TABLE), "edges": edges, "path": path, "current": current})
    else:
        draws = {"mermaid": diagram.mermaid, "dot": diagram.dot, "text": diagram.text}
        print(draws[drawing](steps, here), end="")
