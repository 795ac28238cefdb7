"""Commands start quickly: plain arguments need no library, and what is read is what typer would read."""

import subprocess
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from jobfetcher._version import __version__
from jobfetcher.cli.columns import aligned
from jobfetcher.cli.quick import QuickGroup, quicken
from persistence.store import SqlStore
from states.job import JobState
from tests.store_life import brought_to, spec

HEAVY = ("pydantic", "rich", "sqlalchemy", "requests", "docker", "transitions")


class Colour(StrEnum):
    """A choice."""

    RED = "red"
    BLUE = "blue"


def made(quick: bool) -> typer.Typer:
    """A program that prints its arguments as it got them."""
    app = typer.Typer(rich_markup_mode=None, cls=QuickGroup) if quick else typer.Typer(rich_markup_mode=None)
    inner = typer.Typer(rich_markup_mode=None)

    @app.callback()
    def root(verbose: Annotated[bool, typer.Option("--verbose")] = False) -> None:
        """Root."""

    @app.command()
    def show(
        name: str,
        count: Annotated[int, typer.Option(min=1, max=9)] = 5,
        seconds: Annotated[float, typer.Option(min=0)] = 1.5,
        colour: Colour = Colour.RED,
        colours: Annotated[list[Colour] | None, typer.Option("--of")] = None,
        words: Annotated[list[str] | None, typer.Argument()] = None,
        folder: Path | None = None,
        there: Annotated[Path | None, typer.Option(exists=True)] = None,
        text: Annotated[str | None, typer.Option("--text")] = None,
        number: Annotated[int | None, typer.Option(parser=len)] = None,
        flag: Annotated[bool, typer.Option("--flag/--no-flag")] = False,
    ) -> None:
        """Show."""
        print(name, count, seconds, repr(colour), colours, words, repr(folder), there, text, number, flag)

    @inner.command()
    def deep(path: Path) -> None:
        """Deep."""
        print(repr(path))

    app.add_typer(inner, name="inner")
    if quick:
        quicken(app)
    return app


@pytest.mark.parametrize(
    "line",
    [
        "show a",
        "show",
        "--verbose show a b c",
        "show a --count 9",
        "show a --count 10",
        "show a --count 0",
        "show a --count -3",
        "show a --count ٣",
        "show a --count x",
        "show a --seconds 3",
        "show a --seconds -1",
        "show a --colour blue",
        "show a --colour Blue",
        "show a --colour",
        "show a --of red --of blue",
        "show a --of red --of green",
        "show a --folder /tmp/../x",
        "show a --there /",
        "show a --there /none/such",
        "show a --text 7 --flag",
        "show a --number four",
        "show a --nothing",
        "inner deep ~/x",
        "inner deep",
        "inner",
        "--help",
        "show --help",
        "inner deep --help",
    ],
)
def test_the_short_way_says_what_the_long_one_says(line: str) -> None:
    """The same values, the same words for what is wrong, the same exit code."""
    short, long = (CliRunner().invoke(made(quick), line.split()) for quick in (True, False))

    assert (long.exit_code, long.output) == (short.exit_code, short.output)


def loaded(*arguments: str) -> tuple[str, set[str]]:
    """What a command prints, and which of the heavy libraries it loads for that."""
    program = (
        "import atexit, sys; sys.argv = ['jobfetcher', *sys.argv[1:]]; from jobfetcher.cli import main; "
        f"atexit.register(lambda: print(*set(sys.modules) & {set(HEAVY)}, file=sys.stderr)); main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], check=True, capture_output=True, text=True
    )
    return done.stdout, set(done.stderr.split())


@pytest.mark.parametrize(
    "arguments",
    [
        ["jobs"],
        ["jobs", "--limit", "1", "--state", "running"],
        ["jobs", "--failed", "--since", "2h"],
        ["jobs", "--json"],
        ["show", "1", "--json"],
        ["outbox", "--json"],
        ["--help"],
        ["--version"],
    ],
    ids=" ".join,
)
def test_looking_loads_no_heavy_library(tmp_path: Path, arguments: list[str]) -> None:
    """Into a pipe, whatever is asked."""
    with SqlStore(f"sqlite:///{tmp_path / 'jobfetcher.db'}", "w") as store:
        brought_to(store, store.add(spec(1)), JobState.RUNNING)
    where = [] if arguments[0].startswith("-") else ["--path-base", str(tmp_path)]
    out, heavy = loaded(*arguments, *where)

    assert (bool(out), heavy) == (True, set())


def test_the_version_is_said_before_anything_is_loaded() -> None:
    """Not even the library for commands is needed; with more on the line the usual way is gone."""
    program = "import sys; from jobfetcher.cli import main; main(); print('typer' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program, "--version"], check=True, capture_output=True, text=True
    )

    assert done.stdout == f"{__version__}\nFalse\n"


def test_a_table_in_a_pipe_is_whole(tmp_path: Path) -> None:
    """Nothing is cut off, and text from outside cannot begin a new line or control a terminal."""
    detail = "The \x1b[2J[red]beads[/] are gone, " + "very " * 60 + "far away.\nTraceback"
    with SqlStore(f"sqlite:///{tmp_path / 'jobfetcher.db'}", "w") as store:
        brought_to(store, store.add(spec(7)), JobState.ERROR, detail=detail)
        brought_to(store, store.add(spec(123)), JobState.RUNNING)
    out, _ = loaded("jobs", "--path-base", str(tmp_path))
    title, running, failed = out.splitlines()

    assert title.split() == ["ID", "STATE", "FOR", "RUN", "IMAGE", "UNSENT", "DETAIL"]
    assert running.split()[:2] == ["123", "running"]
    assert failed.startswith("  7  error")
    assert failed.endswith(detail.splitlines()[0].replace("\x1b", "\N{REPLACEMENT CHARACTER}"))


def test_columns_are_as_wide_as_they_must_be() -> None:
    """Each under its title, flush left or right, without blanks at the end."""
    assert aligned(["A", "LONG"], [True, False], [["1", "x"], ["100", ""]]) == "  A  LONG\n  1  x\n100"


def test_ctrl_c_while_it_loads_is_no_mishap() -> None:
    """It ends as a command that was interrupted, and says nothing."""
    program = """
import sys
from importlib.abc import MetaPathFinder
from jobfetcher.cli import main

class Interrupted(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "jobfetcher.cli.commands":
            raise KeyboardInterrupt

sys.meta_path.insert(0, Interrupted())
sys.argv[1:] = ["jobs"]
main()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert (130, "") == (done.returncode, done.stderr)
