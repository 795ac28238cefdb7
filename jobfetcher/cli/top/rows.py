"""The rows of the three tables of 'top'."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.text import Text

from jobfetcher.cli import look
from jobfetcher.cli.top.words import bar, brief, harmless

WIDE = 110
"""Columns of a terminal from which on more is shown."""
VERY_WIDE = 124
"""And from which on an image's name has room, too."""


@dataclass(frozen=True)
class Column:
    """``width`` in characters; 0: what is left."""

    title: str
    width: int
    right: bool = False
    keeps_end: bool = False
    """What is too long loses its beginning: the end of an image's name tells most."""


UNSENT_COLUMNS = [
    Column("ID", 7, right=True),
    Column("STATUS", 14),
    Column("WAITS", 6, right=True),
    Column("DETAIL", 0),
]
"""What is shown of updates that the API has yet to hear."""


@dataclass(frozen=True)
class Row:
    """A row about a job; a job may have several rows in one table."""

    id: str
    """The row's own."""
    key: int
    job_id: str
    """The job's, as the API has it."""
    cells: tuple[Text, ...]

    @property
    def height(self) -> int:
        return max(cell.plain.count("\n") + 1 for cell in self.cells)

    def has(self, wanted: str) -> bool:
        """Whether ``wanted`` (lower case) can be read anywhere in it."""
        return any(wanted in cell.plain.lower() for cell in self.cells)


def job_columns(width: int) -> list[Column]:
    """What is shown of jobs at work in a terminal of that width."""
    wide = width >= WIDE
    return [
        Column("ID", 7, right=True),
        Column("STATE", 11),
        Column("FOR", 6, right=True),
        Column("PROGRESS", 30 if wide else 21),
        *([Column("DONE", 19, right=True)] if wide else []),
        Column("RATE", 11, right=True),
        Column("LEFT", 6, right=True),
        Column("RUN", 3, right=True),
        Column("TRY", 3, right=True),
        *([Column("IMAGE", 0, keeps_end=True)] if width >= VERY_WIDE else []),
    ]


def job_rows(jobs: Sequence[Mapping[str, Any]], now: float, width: int) -> list[Row]:
    """Jobs at work; a line for each thing that is under way."""
    return [_job_row(job, now, width) for job in jobs]


def _job_row(job: Mapping[str, Any], now: float, width: int) -> Row:
    meters, wide = job["progress"], width >= WIDE
    cells = [
        Text(harmless(job["id"])),
        _state(job["state"]),
        Text(brief(now - job["since"])),
        _under(_progress(meter, 16 if wide else 7) for meter in meters) if meters else _waits(job),
        *([_under(Text(_done(meter)) for meter in meters)] if wide else []),
        _under(Text(_rate(meter)) for meter in meters),
        _under(Text(_left(meter)) for meter in meters),
        Text(str(job["run"])),
        Text(str(max(1, job["attempts"]))),  # 0: it made progress since it was counted
        *([Text(harmless(job["image"] or ""))] if width >= VERY_WIDE else []),
    ]
    return Row(str(job["key"]), job["key"], str(job["id"]), tuple(cells))


def unsent_rows(updates: Sequence[Mapping[str, Any]], now: float) -> list[Row]:
    """Updates that the API has yet to hear."""
    return [
        Row(
            str(number),
            update["key"],
            str(update["id"]),
            (
                Text(harmless(update["id"])),
                Text(update["status"], "yellow"),
                Text(brief(now - update["at"])),
                Text(harmless(update["detail"])),
            ),
        )
        for number, update in enumerate(updates)
    ]


def ended_columns(width: int) -> list[Column]:
    """What is shown of jobs that have ended."""
    image = [Column("IMAGE", 24 if width < VERY_WIDE else 36, keeps_end=True)] if width >= WIDE else []
    return [
        Column("ID", 7, right=True),
        Column("STATE", 9),
        Column("TOOK", 6, right=True),
        Column("AGO", 6, right=True),
        *image,
        Column("DETAIL", 0),
    ]


def ended_rows(jobs: Sequence[Mapping[str, Any]], now: float, width: int) -> list[Row]:
    """Jobs that have ended."""
    return [
        Row(
            str(job["key"]),
            job["key"],
            str(job["id"]),
            (
                Text(harmless(job["id"])),
                _state(job["state"]),
                Text(brief(job["since"] - job["created"])),
                Text(brief(now - job["since"])),
                *([Text(harmless(job["image"] or ""))] if width >= WIDE else []),
                Text(harmless(job["detail"])),
            ),
        )
        for job in jobs
    ]


def _state(state: str) -> Text:
    return Text(state, look.COLOURS.get(state, "yellow"))


def _waits(job: Mapping[str, Any]) -> Text:
    return Text("waits for its turn" if job["state"] == "fetched" else "", "dim")


def _under(lines: Any) -> Text:
    return Text("\n").join(lines)


def _progress(meter: Mapping[str, Any], width: int) -> Text:
    total = meter.get("total")
    share = meter["done"] / total if total else None
    percent = "" if share is None else f"{100 * min(1.0, share):.0f}%"
    return Text.assemble(f"{meter['phase'][:8]:<9}", bar(share, width), f"{percent:>5}")


def _done(meter: Mapping[str, Any]) -> str:
    files = f"{meter['files']}/{meter['files_total']} " if meter.get("files_total") else ""
    return f"{files}{look.size(meter['done'])}"


def _rate(meter: Mapping[str, Any]) -> str:
    return f"{look.size(meter['rate'])}/s" if meter.get("rate") else "-"


def _left(meter: Mapping[str, Any]) -> str:
    left = meter.get("seconds_left")
    return "-" if left is None else brief(left)
