"""``jobs --watch``: the table, drawn anew each second."""

import time
from typing import TYPE_CHECKING

from jobfetcher.cli import listing, look
from persistence.errors import StoreUnavailable
from persistence.reader import Reader

if TYPE_CHECKING:
    from rich.console import RenderableType

PERIOD = 1.0
"""Seconds between two looks."""


def watch_jobs(reader: Reader, wanted: listing.Wanted) -> None:
    """Draw until interrupted. A database that is locked for a moment is waited for."""
    from rich.live import Live

    with Live(_drawn(reader, wanted), auto_refresh=False) as live:
        while True:
            time.sleep(PERIOD)
            live.update(_drawn(reader, wanted), refresh=True)


def _drawn(reader: Reader, wanted: listing.Wanted) -> "RenderableType":
    try:
        lines = listing.job_lines(wanted, reader)
    except StoreUnavailable as error:
        return look.plain(error)
    return listing.jobs_table(lines) if lines else "No such jobs, or none yet."
