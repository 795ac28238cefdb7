"""A table that is told all of its rows each second, and keeps the reader's place."""

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.coordinate import Coordinate
from textual.widgets import DataTable

from jobfetcher.cli.top.rows import Column, Row

_GAP = 1
_SCROLLBAR = 1


class LiveTable(DataTable[Text]):
    """Changes only what has changed, and leaves the cursor on the row where it was."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "select_cursor", "details")]

    def __init__(self, name: str) -> None:
        super().__init__(id=name, cursor_type="row", cell_padding=0, show_cursor=False)
        self._drawn_columns: list[Column] = []
        self._drawn: list[Row] = []

    @property
    def chosen(self) -> Row | None:
        """The row under the cursor."""
        return self._drawn[self.cursor_row] if 0 <= self.cursor_row < len(self._drawn) else None

    def on_focus(self) -> None:
        self.show_cursor = True

    def on_blur(self) -> None:
        self.show_cursor = False

    def show(self, columns: Sequence[Column], rows: Sequence[Row], width: int) -> None:
        """Draw these rows in a terminal ``width`` characters wide."""
        fitted = _fitted(columns, width - _SCROLLBAR)
        if fitted != self._drawn_columns or _outline(rows) != _outline(self._drawn):
            self._draw_anew(fitted, rows)
        else:
            self._update(rows)
        self._drawn_columns, self._drawn = fitted, list(rows)

    def _draw_anew(self, columns: Sequence[Column], rows: Sequence[Row]) -> None:
        before, top = self.chosen, self.scroll_y
        self.clear(columns=True)
        for column in columns:
            title = Text(column.title, "bold", justify="right" if column.right else "left")
            self.add_column(padded(title, column), width=column.width + _GAP)
        for row in rows:
            self.add_row(*map(padded, row.cells, columns), height=row.height, key=row.id)
        same = [at for at, row in enumerate(rows) if before is not None and row.id == before.id]
        if same:
            self.move_cursor(row=same[0], scroll=False)
            self.scroll_to(y=top, animate=False)

    def _update(self, rows: Sequence[Row]) -> None:
        for at, (old, new) in enumerate(zip(self._drawn, rows, strict=True)):
            for place, (before, now) in enumerate(zip(old.cells, new.cells, strict=True)):
                if before != now:
                    self.update_cell_at(Coordinate(at, place), padded(now, self._drawn_columns[place]))


def _outline(rows: Sequence[Row]) -> list[tuple[str, int]]:
    return [(row.id, row.height) for row in rows]


def _fitted(columns: Sequence[Column], width: int) -> list[Column]:
    """The columns with what is left given to the one that takes it."""
    left = width - sum(column.width + _GAP for column in columns)
    return [column if column.width else replace(column, width=max(6, left)) for column in columns]


def padded(cell: Text, column: Column) -> Text:
    """Each line cut or filled to the column's width, and the gap to the next one."""
    lines = cell.split("\n", allow_blank=True)
    for line in lines:
        if column.keeps_end and line.cell_len > column.width:
            line.plain = f"…{line.plain[-column.width + 1 :]}"
        line.truncate(column.width, overflow="ellipsis")
        if column.right:
            line.pad_left(column.width - line.cell_len)
    return Text("\n").join(lines)
