"""``jobfetcher top``: looks each second, shows it, and does what its keys ask for."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rich.console import RenderableType
from textual import work
from textual.app import App
from textual.widgets import DataTable

from jobfetcher.cli.look import Unanswerable
from jobfetcher.cli.top.logtail import LogTail, title
from jobfetcher.cli.top.orders import Orders
from jobfetcher.cli.top.overview import Overview
from jobfetcher.cli.top.screens import PERIOD, Keys, Live, Question, job_page, log_page
from jobfetcher.cli.top.snapshot import Lookout
from jobfetcher.cli.top.words import harmless
from persistence.errors import StoreUnavailable, StoreUnusable

KEYS = (
    ("↑ ↓ Tab", "choose a row, and the table"),
    ("Enter", "all that is known of the job"),
    ("l", "what it has written last"),
    ("c", "cancel it (asks first)"),
    ("d", "take no new jobs, finish what is there; or take jobs again (asks first)"),
    ("/", "show only rows with a text in them; Escape shows all"),
    ("q", "quit; the worker goes on"),
)


@dataclass(frozen=True)
class _Page:
    """Reads one job anew for a page about it."""

    lookout: Lookout
    logs: LogTail
    key: int
    id: str

    async def details(self) -> RenderableType:
        return job_page(*await asyncio.to_thread(self._read))

    async def log(self) -> RenderableType:
        return log_page((await asyncio.to_thread(self._read))[1])

    def _read(self) -> tuple[dict[str, Any] | None, list[str]]:
        known = self.lookout.job(self.key, self.id)
        return known, [] if known is None else self.logs.lines(known)


class TopApp(App[None]):
    """The full-screen view."""

    CSS_PATH = "top.tcss"
    ENABLE_COMMAND_PALETTE = False
    TITLE = "jobfetcher top"

    def __init__(self, lookout: Lookout, logs: LogTail, orders: Orders) -> None:
        super().__init__()
        self._lookout = lookout
        self._logs = logs
        self._orders = orders
        self._overview = Overview()

    def get_default_screen(self) -> Overview:
        return self._overview

    def on_mount(self) -> None:
        if self.no_color:
            self._overview.add_class("colourless")
        self.run_worker(self._keep_looking())

    async def _keep_looking(self) -> None:
        while True:
            shot = await asyncio.to_thread(self._lookout.look)
            self._overview.show(shot)
            await asyncio.sleep(PERIOD)

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        """Enter, or a click on the row under the cursor."""
        event.stop()
        if page := self._page():
            self.push_screen(Live(f"All that is known of job {page.id}", page.details))

    def action_log(self) -> None:
        """Show what the job has written last."""
        if page := self._page():
            self.push_screen(Live(title(page.id), page.log, at_end=True))

    def action_keys(self) -> None:
        """Show the keys."""
        self.push_screen(Keys(KEYS))

    @work
    async def action_cancel(self) -> None:
        """Cancel the job, if the answer is yes."""
        row = self._overview.chosen
        if row is None:
            return
        question = f"Cancel job {row.job_id}? Its container is stopped and nothing is uploaded."
        if await self.push_screen_wait(Question(question, "cancel the job")):
            self._order(self._orders.cancel, row.job_id)

    @work
    async def action_drain(self) -> None:
        """Drain or resume, if the answer is yes."""
        if self._overview.draining:
            question, yes, order = "Take new jobs again?", "take jobs", self._orders.resume
        else:
            question = "Drain the worker? It takes no new jobs and ends when those that it has are done."
            yes, order = "drain", self._orders.drain
        if await self.push_screen_wait(Question(question, yes)):
            self._order(order)

    @work(group="orders")
    async def _order(self, order: Callable[..., str], *arguments: str) -> None:
        self.notify("The worker is asked.", timeout=2)
        try:
            self.notify(harmless(await asyncio.to_thread(order, *arguments)), markup=False)
        except (Unanswerable, StoreUnavailable, StoreUnusable) as error:
            self.notify(harmless(error), severity="error", markup=False)

    def _page(self) -> _Page | None:
        row = self._overview.chosen
        return None if row is None else _Page(self._lookout, self._logs, row.key, row.job_id)
