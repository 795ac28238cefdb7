"""The main screen of 'top': header, gauges and three tables."""

from collections.abc import Sequence
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import Screen
from textual.widgets import Footer, Input, Static

from jobfetcher.cli.look import TERMINAL
from jobfetcher.cli.top import rows
from jobfetcher.cli.top.header import Gauges, head
from jobfetcher.cli.top.rows import Column, Row
from jobfetcher.cli.top.snapshot import Snapshot
from jobfetcher.cli.top.tables import LiveTable

LOW = 30
"""Lines of a terminal below which the lower tables go without their headings."""

TABLES = ("jobs", "unsent", "ended")


class Overview(Screen[None]):
    """Draws what it is given by ``show``."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "app.quit", "quit"),
        Binding("l", "app.log", "log"),
        Binding("c", "app.cancel", "cancel"),
        Binding("d", "app.drain", "drain/resume"),
        Binding("slash", "filter", "filter"),
        Binding("question_mark", "app.keys", "help"),
        Binding("escape", "unfilter", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._gauges = Gauges()
        self._shot = Snapshot(0.0, running=False)

    def compose(self) -> ComposeResult:
        yield Static("Looking ...", id="head")
        yield Static(id="gauges")
        for name in TABLES:
            yield Static(id=f"{name}-title", classes="title")
            yield LiveTable(name)
        yield Input(placeholder="only rows with this text; Escape: all", id="filter", compact=True)
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        self.query_one("#jobs").focus()

    def show(self, shot: Snapshot) -> None:
        """Draw this look."""
        self._shot = shot
        self._gauges.add(shot)
        self.redraw()

    @property
    def draining(self) -> bool:
        """Whether the worker takes no new jobs."""
        return self._shot.draining

    @property
    def chosen(self) -> Row | None:
        """The row under the cursor of the table in use."""
        return self.focused.chosen if isinstance(self.focused, LiveTable) else None

    def redraw(self) -> None:
        """Draw the latest look again: the size or the filter has changed."""
        shot, width, low = self._shot, self.size.width, self.size.height < LOW
        if not shot.at:
            return
        self.query_one("#head", Static).update(head(shot))
        drawn = self._gauges.draw(shot.machine, width - 2, 3 if low else 6)
        self.query_one("#gauges", Static).update(drawn)
        now = shot.at
        self._fill("jobs", _at_work(shot), rows.job_columns(width), rows.job_rows(shot.jobs, now, width))
        unsent = rows.unsent_rows(shot.unsent, now)
        self._fill("unsent", f"The API has yet to hear: {len(unsent)}", rows.UNSENT_COLUMNS, unsent)
        self._fill("ended", _ended(shot), rows.ended_columns(width), rows.ended_rows(shot.ended, now, width))
        for name in ("unsent", "ended"):
            self.query_one(f"#{name}", LiveTable).show_header = not low
        for part in ("#unsent-title", "#unsent"):
            self.query_one(part).display = bool(shot.unsent)

    def _fill(self, name: str, title: str, columns: Sequence[Column], found: Sequence[Row]) -> None:
        wanted = self.query_one("#filter", Input).value.strip().lower()
        shown = [row for row in found if row.has(wanted)]
        chosen = f"; {len(shown)} of {len(found)} rows have {wanted!r}" if wanted else ""
        self.query_one(f"#{name}-title", Static).update(Text(f"{title}{chosen}"))
        self.query_one(f"#{name}", LiveTable).show(columns, shown, self.size.width - 2)

    def on_resize(self) -> None:
        self.redraw()

    def action_filter(self) -> None:
        """Ask for a text that rows must have."""
        field = self.query_one("#filter", Input)
        field.display = True
        field.focus()

    def action_unfilter(self) -> None:
        """Show all rows."""
        field = self.query_one("#filter", Input)
        field.value = ""
        field.display = False
        self.query_one("#jobs").focus()

    def on_input_changed(self) -> None:
        self.redraw()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        if event.value.strip():
            self.query_one("#jobs").focus()
        else:
            self.action_unfilter()


def _at_work(shot: Snapshot) -> str:
    places = shot.worker.get("places") if shot.running else None
    return f"At work: {len(shot.jobs)}" + (f", at most {places} at once" if places else "")


def _ended(shot: Snapshot) -> str:
    counts = shot.counts
    ends = [f"{counts[state]:,} {state}" for state in TERMINAL if state in counts]
    return f"Ended: {', '.join(ends) or 'none'}"
