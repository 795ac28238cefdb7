"""What every command owes its users: help with an example, JSON, a line in the README, a quick start."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import typer.main

from jobfetcher.cli.commands import app

README = Path(__file__).parents[2] / "README.md"
HEAVY = {"sqlalchemy", "alembic", "docker", "pydantic", "requests", "boto3", "transitions", "rich", "pynvml"}
LOOKING = "commands, look, listing, joblog, watching, care, moments, health, control, asking"


def commands(group: click.Group | None = None, before: str = "") -> Iterator[tuple[str, click.Command]]:
    """Every command with its full name."""
    group = group or typer.main.get_command(app)  # type: ignore[assignment]  # typer's own class of groups
    assert group is not None
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{before}{name} ")  # type: ignore[arg-type]  # likewise
        else:
            yield f"{before}{name}", command


COMMANDS = dict(commands())
WITHOUT_EXAMPLE = {"run", "version"}


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - WITHOUT_EXAMPLE))
def test_help_shows_an_example_of_this_command(name: str) -> None:
    """The example begins with the command itself, and the help says what it is for."""
    command = COMMANDS[name]

    assert re.match(rf"Example: jobfetcher {name}\b", command.epilog or "")
    assert len(command.help or "") > 20


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - {"run"}))
def test_each_command_speaks_json(name: str) -> None:
    """``--json`` is there wherever something is printed."""
    assert "--json" in [option for parameter in COMMANDS[name].params for option in parameter.opts]


def test_the_readme_lists_each_command() -> None:
    """One row of the table for each."""
    rows = re.findall(r"^\| `jobfetcher ([a-z -]+?)(?: \[?[A-Z]+\]?)?` \|", README.read_text(), re.MULTILINE)

    assert sorted(rows) == sorted(COMMANDS)


def test_commands_that_look_start_quickly() -> None:
    """What lists jobs, logs and unsent updates loads none of the worker's weight."""
    program = f"import sys; from jobfetcher.cli import {LOOKING}; print(sorted({HEAVY} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)

    assert done.stdout == "[]\n"
