"""How results are kept and shown."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench import pages
from bench.measure import Row

HEADINGS = ("what", "unit", "ours", "floor", "ratio", "goal", "met")


def cells(row: Row) -> tuple[str, ...]:
    """A row as text, in the order of ``HEADINGS``."""
    numbers = (_number(row.ours), _number(row.floor), _number(row.ratio))
    return (row.name, row.unit, *numbers, row.goal, {True: "yes", False: "no", None: "-"}[row.met])


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def show(rows: Sequence[Row]) -> None:
    """Print them."""
    table = Table(*HEADINGS)
    for row in rows:
        table.add_row(*cells(row))
    Console(width=150).print(table)


def markdown(rows: Sequence[Row]) -> str:
    """The same for the documentation."""
    return pages.table(HEADINGS, map(cells, rows))


def write(rows: Sequence[Row], path: Path) -> None:
    """Keep them as JSON: a list of objects."""
    path.write_text(json.dumps([asdict(row) for row in rows], indent=2, ensure_ascii=False) + "\n")


def read(path: Path) -> list[Row]:
    """What ``write`` kept. Raises ``OSError`` if there is none."""
    return [Row(**row) for row in json.loads(path.read_text())]


def merged(old: Sequence[Row], new: Sequence[Row]) -> list[Row]:
    """The old rows, each replaced by the new one of the same name, then what is new."""
    fresh = {row.name: row for row in new}
    kept = [fresh.pop(row.name, row) for row in old]
    return [*kept, *fresh.values()]
