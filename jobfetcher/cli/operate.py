"""The commands of those who look after a worker. What they print is made in ``jobfetcher.cli.care``."""

from pathlib import Path
from typing import Annotated

import typer

from jobfetcher.cli import db
from jobfetcher.cli.options import Base, JobId, Json

app = typer.Typer(rich_markup_mode=None)
app.add_typer(db.app, name="db")


@app.command(epilog="Example: jobfetcher doctor --image registry.example.org/decode:v0.10 --fix-hints")
def doctor(
    image: Annotated[
        str | None, typer.Option(help="An image of your applications, to try pulling and running it.")
    ] = None,
    fix_hints: Annotated[bool, typer.Option("--fix-hints", help="Print only what is to be done.")] = False,
    as_json: Json = False,
) -> None:
    """Check everything a worker needs, and say how to mend what is not right.

    The exit code is 1 if the worker cannot work. It may be running meanwhile.
    """
    from jobfetcher.app import examination
    from jobfetcher.cli import care

    raise typer.Exit(care.print_checks(examination().everything(image), fix_hints, as_json))


@app.command(epilog="Example: jobfetcher config --json | jq '.[] | select(.from != \"default\")'")
def config(as_json: Json = False) -> None:
    """Show every setting: its value (secrets masked), where it came from, and what it is for."""
    from jobfetcher.cli import care

    raise typer.Exit(care.print_config(as_json))


@app.command(epilog="Example: jobfetcher hardware --json | jq .offered")
def hardware(as_json: Json = False) -> None:
    """Show what this machine has, what jobs hold of it, and what is offered to the API."""
    from jobfetcher.cli.hardware import print_hardware

    print_hardware(as_json)


@app.command(epilog="Example: jobfetcher outbox --json | jq length")
def outbox(as_json: Json = False, path_base: Base = None) -> None:
    """List what the API has yet to hear, oldest first."""
    from jobfetcher.cli import care, look

    with look.database(path_base) as reader:
        care.print_outbox(reader.unsent(), as_json)


@app.command(epilog="Example: jobfetcher logs 17 -f")
def logs(
    job_id: JobId,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on as long as the job runs, until Ctrl-C.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print each line as a JSON object.")] = False,
    path_base: Base = None,
) -> None:
    """Print what a job's container has written. After its end it is with the results, as container.log."""
    from jobfetcher.cli import joblog

    joblog.print_log(job_id, follow, as_json, path_base)


@app.command(epilog="Example: jobfetcher top --json | jq '.jobs[].progress'")
def top(as_json: Json = False, path_base: Base = None) -> None:
    """Watch the worker on a full screen: jobs and their progress, the machine, what the API has yet to hear.

    Press ? there for its keys. It works whether the worker runs or not.
    """
    from jobfetcher.cli.top import run_top

    run_top(path_base, as_json)


@app.command(epilog="Example: jobfetcher health || echo 'the worker needs care'")
def health(as_json: Json = False, path_base: Base = None) -> None:
    """Say in one sentence whether the worker lives; the exit code is 1 if it does not.

    It asks the status page's port (STATUS_PORT), or else looks at the worker's lock and status file.
    """
    from jobfetcher.cli import health

    raise typer.Exit(health.print_health(base(path_base), as_json))


def base(path_base: Path | None) -> Path:
    """The worker's folder."""
    from jobfetcher.environment import folder_at
    from jobfetcher.environment import path_base as configured

    return folder_at(path_base) if path_base else configured()
