"""Starts 'top', or prints one look for programs."""

import os
import sys
import time
from dataclasses import asdict
from pathlib import Path

from jobfetcher import board_file
from jobfetcher.cli import look, operate
from jobfetcher.cli.top.machine import Machine
from jobfetcher.cli.top.snapshot import Lookout
from jobfetcher.hardware import gpu_usage
from persistence.reader import open_reader

MEASURED_SECONDS = 0.2
"""How long ``--json`` measures what the processors do."""


def run_top(path_base: Path | None, json_wanted: bool) -> None:
    """Show the worker of that folder (None: that of the settings) until the user quits.

    Raises ``Unanswerable`` without a terminal, and ``persistence.errors`` if there is no database.
    """
    if not json_wanted and not on_terminal():
        raise look.Unanswerable(
            "'top' needs a terminal that can move its cursor; --json prints one look, 'jobs' a list.", 2
        )
    file, base = look.database_file(path_base), operate.base(path_base)
    open_reader(file).close()
    with gpu_usage() as gpus:
        lookout = Lookout(file, base, board_file.read, Machine(base, gpus))
        if json_wanted:
            time.sleep(MEASURED_SECONDS)
            look.as_json(asdict(lookout.look()))
        else:
            _show(lookout, base, path_base)


def on_terminal() -> bool:
    """Whether there is a screen to draw on and somebody to press keys."""
    draws = all(stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr))  # textual draws on stderr
    return draws and os.environ.get("TERM", "") not in ("", "dumb")


def _show(lookout: Lookout, base: Path, path_base: Path | None) -> None:
    from jobfetcher.cli.top.app import TopApp
    from jobfetcher.cli.top.logtail import LogTail
    from jobfetcher.cli.top.orders import orders

    TopApp(lookout, LogTail(base), orders(path_base)).run()
