"""What lies over the tables of 'top' for a while: one job, its log, a question, the keys."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, ClassVar

from rich.console import Group, RenderableType
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen, Screen
from textual.widgets import Footer, Static

from jobfetcher.cli import look
from jobfetcher.cli.top.words import harmless

PERIOD = 1.0
"""Seconds between two looks."""


class Live(Screen[None]):
    """A page that is drawn anew each second by ``draw``, until Escape."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "dismiss", "back"),
        Binding("end,G", "end", "end", show=False),
    ]

    def __init__(
        self, title: str, draw: Callable[[], Awaitable[RenderableType]], at_end: bool = False
    ) -> None:
        super().__init__()
        self._name = title
        self._draw = draw
        self._at_end = at_end

    def compose(self) -> ComposeResult:
        yield Static(Text(harmless(self._name), "bold reverse"), id="title")
        with VerticalScroll(id="page"):
            yield Static(id="content")
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        self.query_one("#page").focus()
        self.run_worker(self._keep_drawing())

    def action_end(self) -> None:
        """Go to the last line, and stay there."""
        self.query_one("#page", VerticalScroll).scroll_end(animate=False)

    async def _keep_drawing(self) -> None:
        page, content = self.query_one("#page", VerticalScroll), self.query_one("#content", Static)
        while True:
            drawn = await self._draw()
            stay = page.max_scroll_y > 0 and page.scroll_y < page.max_scroll_y
            content.update(drawn)
            if self._at_end and not stay:
                self.call_after_refresh(self.action_end)
            await asyncio.sleep(PERIOD)


class Question(ModalScreen[bool]):
    """Asks before something is done."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "dismiss(True)", "yes"),
        Binding("n,escape,q", "dismiss(False)", "no"),
    ]

    def __init__(self, question: str, yes: str) -> None:
        super().__init__()
        self._question = question
        self._yes = yes

    def compose(self) -> ComposeResult:
        keys = Text.assemble("\n\n", ("y", "bold"), f" {self._yes}    ", ("n", "bold"), " leave it as it is")
        yield Static(Text(self._question) + keys, classes="box")


class Keys(ModalScreen[None]):
    """The keys, until any of those that close it."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,question_mark,enter", "dismiss", "back")]

    def __init__(self, keys: Sequence[tuple[str, str]]) -> None:
        super().__init__()
        self._keys = keys

    def compose(self) -> ComposeResult:
        lines = [Text.assemble((f"{key:<11}", "bold"), what) for key, what in self._keys]
        yield Static(Text("\n").join(lines), classes="box")


def job_page(known: dict[str, Any] | None, log: Sequence[str]) -> RenderableType:
    """All that is known of a job, and the last lines of its log."""
    if known is None:
        return Text("The database does not show this job at the moment.")
    parts = [Text.from_markup(part) if isinstance(part, str) else part for part in look.job_parts(known)]
    lines = [Text(harmless(line), "dim") for line in log] or [Text("(nothing)", "dim")]
    return Group(*parts, Text("\nThe last it wrote", "bold"), *lines)


def log_page(log: Sequence[str]) -> RenderableType:
    """The last lines of a log."""
    return Group(*(Text(harmless(line)) for line in log))
