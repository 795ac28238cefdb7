"""The commands and their options. What they print is made in ``jobfetcher.cli.look``.

Kept light: each command imports what it needs when it is called, so that looking is quick.
"""

import os
import sys
from contextlib import suppress
from enum import StrEnum
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated

import typer

from jobfetcher._version import __version__
from jobfetcher.cli import control, operate
from jobfetcher.cli.loading import loading
from jobfetcher.cli.options import Base, JobId, Json
from jobfetcher.cli.quick import QuickGroup, quicken
from jobfetcher.complaint import sentence

app = typer.Typer(
    name="jobfetcher",
    cls=QuickGroup,
    help="Worker of DECODE OpenCloud: fetches analysis jobs, runs their containers, and survives anything.",
    epilog="Settings come from environment variables and the file .env; see .env.example.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class State(StrEnum):
    """The states that 'jobs --state' knows. (A copy, so that looking does not load the machine.)"""

    FETCHED = "fetched"
    DOWNLOADING = "downloading"
    RUNNING = "running"
    UPLOADING = "uploading"
    FINISHED = "finished"
    ERROR = "error"
    CANCELLED = "cancelled"


class Drawing(StrEnum):
    """What 'graph' can draw."""

    TEXT = "text"
    MERMAID = "mermaid"
    DOT = "dot"


class Runner(StrEnum):
    """What 'demo' can run jobs with."""

    AUTO = "auto"
    DOCKER = "docker"
    PROCESS = "process"


def _print_version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Worker of DECODE OpenCloud: fetches analysis jobs, runs their containers, and survives anything."""


@app.command(epilog="Stop it with Ctrl-C or SIGTERM: containers go on, and the next start resumes them.")
def run() -> None:
    """Attach this machine: resume what was interrupted, then fetch and run jobs until stopped."""
    with loading():
        from jobfetcher.app import run_worker

    code = run_worker()
    sys.stderr.flush()
    # Not sys.exit: it would wait for threads that are stuck in a transfer, and all is persisted.
    os._exit(code)


@app.command(epilog="Example: jobfetcher jobs --failed --since 2h; jobfetcher jobs --state running --watch")
def jobs(
    state: Annotated[list[State] | None, typer.Option(help="Only jobs in this state; repeatable.")] = None,
    failed: Annotated[bool, typer.Option("--failed", help="Only jobs that failed: --state error.")] = False,
    since: Annotated[
        str | None,
        typer.Option(
            metavar="WHEN", help="Only jobs that anything happened to since: 90s, 30m, 2h, 3d or a date."
        ),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=10**9, help="At most so many, newest first.")] = 50,
    watch: Annotated[bool, typer.Option("--watch", help="Refresh each second until Ctrl-C.")] = False,
    as_json: Json = False,
    path_base: Base = None,
) -> None:
    """List the jobs of this machine, whether the worker runs or not."""
    from jobfetcher.cli import listing, look, moments

    if watch and as_json:
        raise typer.BadParameter("--watch draws for people; without it --json prints what there is.")
    states = [*map(str, state or []), *(["error"] if failed else [])] or None
    wanted = listing.Wanted(path_base, states, limit, moments.ago(since) if since else None)
    with look.database(path_base) as reader, suppress(KeyboardInterrupt):
        if watch:
            from jobfetcher.cli.watching import watch_jobs

            watch_jobs(reader, wanted)
        else:
            listing.print_jobs(wanted, reader, as_json)


@app.command(epilog="Example: jobfetcher show 17 --json | jq .moves")
def show(job_id: JobId, as_json: Json = False, path_base: Base = None) -> None:
    """Show all that is known of one job: timeline, container, files, what the API has yet to hear."""
    from jobfetcher.cli import look

    with look.database(path_base) as reader:
        look.print_job(look.one(reader, job_id), reader, as_json, path_base)


@app.command(epilog="Example: jobfetcher graph --format dot | dot -Tsvg > machine.svg")
def graph(
    job_id: Annotated[str | None, typer.Argument(metavar="[ID]", help="Mark this job's path.")] = None,
    drawing: Annotated[Drawing, typer.Option("--format", help="How to draw.")] = Drawing.TEXT,
    as_json: Json = False,
    path_base: Base = None,
) -> None:
    """Draw the state machine, or one job's path through it."""
    from jobfetcher.cli import look

    if job_id is None:
        look.print_graph(drawing, [], None, as_json)
        return
    with look.database(path_base) as reader:
        job = look.one(reader, job_id)
        look.print_graph(drawing, look.path_of(job, reader), job.state, as_json)


@app.command(epilog="Example: jobfetcher demo --runner process --folder /tmp/try")
def demo(
    folder: Annotated[Path, typer.Option(help="Where to work; what an earlier demo left is removed.")] = Path(
        "demo-run"
    ),
    runner: Annotated[
        Runner, typer.Option(help="What runs the jobs; auto: docker where an engine answers.")
    ] = Runner.AUTO,
    image: Annotated[
        str, typer.Option(help="Image with a shell and the usual small tools.")
    ] = "busybox:latest",
    as_json: Json = False,
) -> None:
    """Run three jobs against a mock API, kill the worker in the middle, and watch it recover."""
    from jobfetcher.cli.demo import run_demo

    raise typer.Exit(run_demo(folder, str(runner), image, as_json))


app.add_typer(operate.app)
app.add_typer(control.app)


@app.command()
def version(as_json: Json = False) -> None:
    """Print the version."""
    print(f'{{"version": "{__version__}"}}' if as_json else __version__)


quicken(app)


def main() -> None:
    """Run the command that was asked for. What a person can mend ends in one message and no traceback."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # not every terminal knows every letter of a file's name
    try:
        app()
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output has gone; Python would complain about it at exit
        raise SystemExit(0) from None
    except Exception as error:
        code = _code(error)
        if code is None:
            raise
        print(f"jobfetcher: {sentence(error)}", file=sys.stderr)
        raise SystemExit(code) from None


def _code(error: Exception) -> int | None:
    """What the command ends with where the error is a sentence for people."""
    from jobfetcher.cli.look import Unanswerable
    from jobfetcher.environment import Misread
    from persistence.errors import StoreUnavailable, StoreUnusable

    if isinstance(error, Unanswerable):
        return error.code
    if isinstance(error, Misread):
        return 2
    of_a_file = isinstance(error, OSError) and error.errno is not None
    return 1 if of_a_file or isinstance(error, StoreUnavailable | StoreUnusable) else None
