"""Fills the documentation's pages with what the program itself says, when they are built.

``<!-- settings -->`` in a page becomes the table of settings, ``<!-- commands -->`` the help of every
command, ``<!-- machine -->`` the diagram and ``<!-- states -->`` the table of states.
"""

from collections.abc import Callable, Iterator
from importlib.resources import files
from typing import Any

import typer.main
from typer.testing import CliRunner

from jobfetcher.cli.commands import app
from jobfetcher.settings import Settings
from jobfetcher.status import drawing
from states.table import TABLE


def settings() -> str:
    """Every setting with its default and its meaning, from the settings themselves."""
    rows = ["| name | default | meaning |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        default = "" if field.is_required() or field.default in (None, "", ()) else f"`{field.default}`"
        rows.append(f"| `{name.upper()}` | {default} | {field.description} |")
    return "\n".join(rows)


def commands() -> str:
    """What ``--help`` says, command by command."""
    terminal = CliRunner(env={"TERMINAL_WIDTH": "96", "COLUMNS": "96"})
    parts = []
    for name in _names(typer.main.get_command(app)):
        told = terminal.invoke(app, [*name.split(), "--help"], prog_name="jobfetcher").output
        parts.append(f"## {name}\n\n```text\n{told.strip()}\n```")
    return "\n\n".join(parts)


def _names(group: Any, before: str = "") -> Iterator[str]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _names(command, f"{before}{name} ")
        else:
            yield f"{before}{name}"


def states() -> str:
    """What is told to the API in each state, and how it is left."""
    rows = ["| state | the API hears | leaves by |", "|---|---|---|"]
    for state, row in TABLE.items():
        leaves = ", ".join(f"{edge.trigger} → {edge.target}" for edge in row.edges)
        rows.append(f"| **{state}** | {row.tells or 'nothing'} | {leaves or 'an end'} |")
    return "\n".join(rows)


def machine() -> str:
    """The whole machine, as the worker's own page draws it."""
    style = files("jobfetcher.status").joinpath("page/machine.css").read_text()
    lines = [line for line in f"<style>{style}{COLOURS}</style>\n{drawing.both()}".splitlines() if line]
    return "\n".join(lines)  # a blank line would end the HTML in Markdown


COLOURS = """
.machine { --ink: var(--md-default-fg-color); --muted: var(--md-default-fg-color--light);
  --tone: currentColor; --card: transparent; --line: var(--md-default-fg-color--light); --warn: #b45309; }
.machine .count { display: none; }
"""
"""The page's colours in terms of the documentation's."""

FILLED: dict[str, Callable[[], str]] = {
    "<!-- settings -->": settings,
    "<!-- commands -->": commands,
    "<!-- machine -->": machine,
    "<!-- states -->": states,
}


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Called by MkDocs for each page."""
    for mark, made in FILLED.items():
        if mark in markdown:
            markdown = markdown.replace(mark, made())
    return markdown
