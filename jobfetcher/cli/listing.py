"""The list of jobs: as a table, and into a pipe or a file as plain text, without any library."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from jobfetcher.cli import look, moving
from jobfetcher.cli.columns import aligned
from jobfetcher.units import span
from persistence.reader import JobRow, Reader

if TYPE_CHECKING:
    from rich.console import RenderableType


@dataclass(frozen=True)
class Wanted:
    """Which jobs are asked for."""

    path_base: Path | None
    """The worker's folder; None: that of the settings."""
    states: list[str] | None
    limit: int
    since: float | None
    """Seconds since the epoch."""

    def rows(self, reader: Reader) -> list[JobRow]:
        return reader.jobs(self.states, self.limit, self.since)


def job_lines(wanted: Wanted, reader: Reader) -> list[dict[str, Any]]:
    """``summary`` of each."""
    meters = moving.meters(wanted.path_base)
    rows = wanted.rows(reader)
    unsent = reader.unsent_counts()
    return [look.summary(row, unsent.get(row.key, 0), meters) for row in rows]


def print_jobs(wanted: Wanted, reader: Reader, json_wanted: bool) -> None:
    """The list of jobs."""
    lines = job_lines(wanted, reader)
    if json_wanted:
        look.as_json(lines)
    elif not lines:
        print("No such jobs, or none yet.")
    else:
        show_jobs(lines)


@dataclass(frozen=True)
class _Column:
    title: str
    right: bool = False
    gives: bool = False
    """In a narrow terminal it is cut; the others are not."""


def show_jobs(lines: Sequence[dict[str, Any]]) -> None:
    """Print ``summary`` lines for people; into a pipe or a file without a library."""
    if look.on_terminal():
        look.draw(jobs_table(lines))
        return
    columns = _job_columns(lines)
    cells = [_job_cells(line, columns) for line in lines]
    print(aligned([column.title for column in columns], [column.right for column in columns], cells))


def _job_columns(lines: Iterable[dict[str, Any]]) -> list[_Column]:
    moves = any(line["progress"] for line in lines)
    return [
        _Column("ID", right=True),
        _Column("STATE"),
        _Column("FOR", right=True),
        _Column("RUN", right=True),
        *([_Column("PROGRESS", gives=True)] if moves else []),
        _Column("IMAGE", gives=True),
        _Column("UNSENT", right=True),
        _Column("DETAIL", gives=True),
    ]


def _job_cells(line: dict[str, Any], columns: Iterable[_Column]) -> list[str]:
    ended = line["state"] in look.TERMINAL
    lasted = line["since"] - line["created"] if ended else time.time() - line["since"]
    cells = {
        "ID": look.harmless(line["id"], keep=""),
        "STATE": line["state"],
        "FOR": span(max(0.0, lasted)),
        "RUN": str(line["run"]),
        "PROGRESS": moving.brief(line["progress"]),
        "IMAGE": look.harmless(line["image"] or "", keep=""),
        "UNSENT": str(line["unsent"] or "-"),
        "DETAIL": look.harmless((line["detail"].splitlines() or [""])[0]),
    }
    return [cells[column.title] for column in columns]


def jobs_table(lines: Sequence[dict[str, Any]]) -> "RenderableType":
    """The table of ``summary`` lines."""
    from rich.table import Table
    from rich.text import Text

    columns = _job_columns(lines)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        justify: Literal["left", "right"] = "right" if column.right else "left"
        most = 40 if column.title == "IMAGE" else None
        # Of a column that may wrap rich takes width away first; its cells do not wrap, they are cut.
        table.add_column(column.title, justify=justify, no_wrap=not column.gives, max_width=most)
    for line in lines:
        cells = [Text(cell, no_wrap=True, overflow="ellipsis") for cell in _job_cells(line, columns)]
        cells[1].stylize(look.COLOURS.get(line["state"], "yellow"))
        table.add_row(*cells)
    return table
