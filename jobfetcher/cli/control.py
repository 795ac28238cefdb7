"""The commands that act on a running worker. They put a request into its database; the worker does it."""

from typing import Annotated

import typer

from jobfetcher.cli.options import Base, JobId, Json

app = typer.Typer(rich_markup_mode=None)

Wait = Annotated[
    float,
    typer.Option("--timeout", metavar="SECONDS", min=0, help="How long to wait for the worker's answer."),
]
NoWait = Annotated[
    bool, typer.Option("--no-wait", help="Leave the request to the worker and return at once.")
]
SECONDS = 15.0
"""How long an answer is waited for, if nothing else is said."""


@app.command(epilog="Example: jobfetcher cancel 17 --reason 'the GPU is needed for the course'")
def cancel(
    job_id: JobId,
    reason: Annotated[str, typer.Option(help="Words for the job's owner.")] = "",
    timeout: Wait = SECONDS,
    no_wait: NoWait = False,
    as_json: Json = False,
    path_base: Base = None,
) -> None:
    """Stop a job that has not ended, whatever it is doing: nothing of it is uploaded.

    Its owner sees that it failed, and the reason. The exit code is 1 if there was nothing to cancel.
    """
    from jobfetcher.cli import asking

    asked = asking.of_job(path_base, job_id, "cancel", live_only=True, reason=reason)
    raise typer.Exit(asking.settle(asked, 0 if no_wait else timeout, as_json))


@app.command("retry-upload", epilog="Example: jobfetcher retry-upload 17 --all")
def retry_upload(
    job_id: JobId,
    everything: Annotated[
        bool, typer.Option("--all", help="Also what is on record as uploaded already.")
    ] = False,
    timeout: Wait = SECONDS,
    no_wait: NoWait = False,
    as_json: Json = False,
    path_base: Base = None,
) -> None:
    """Upload a job's results now: do not wait out a pause, or do it once more after the job's end.

    After its end the job's files must still be on this machine (KEEP_JOBS); the API is told no status then.
    """
    from jobfetcher.cli import asking

    asked = asking.of_job(path_base, job_id, "retry-upload", live_only=False, all=everything)
    raise typer.Exit(asking.settle(asked, 0 if no_wait else timeout, as_json))


@app.command(epilog="Example: jobfetcher drain --wait && sudo reboot")
def drain(
    wait: Annotated[bool, typer.Option("--wait", help="Return when the worker has ended.")] = False,
    timeout: Wait = SECONDS,
    no_wait: NoWait = False,
    as_json: Json = False,
    path_base: Base = None,
) -> None:
    """Take no new jobs: the worker finishes those it has, and ends. 'resume' takes it back.

    A worker that is started meanwhile (by Docker or systemd, say) takes no jobs either, and stays up.
    """
    from jobfetcher.cli import asking

    if wait and no_wait:
        raise typer.BadParameter("--wait and --no-wait exclude each other.")
    asked = asking.of_worker(path_base, "drain")
    raise typer.Exit(asking.settle(asked, 0 if no_wait else timeout, as_json, until_ended=wait))


@app.command(epilog="Example: jobfetcher resume")
def resume(
    timeout: Wait = SECONDS, no_wait: NoWait = False, as_json: Json = False, path_base: Base = None
) -> None:
    """Take new jobs again after 'drain'."""
    from jobfetcher.cli import asking

    raise typer.Exit(asking.settle(asking.of_worker(path_base, "resume"), 0 if no_wait else timeout, as_json))


@app.command(epilog="Example: jobfetcher prune --history 30d --dry-run")
def prune(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
    history: Annotated[
        str | None,
        typer.Option(metavar="SPAN", help="Also forget jobs that ended so long ago: 12w, 30d; at least 1d."),
    ] = None,
    timeout: Wait = SECONDS,
    no_wait: NoWait = False,
    as_json: Json = False,
    path_base: Base = None,
) -> None:
    """Remove now what ended jobs left on this machine, also what KEEP_JOBS keeps.

    Jobs that the API has yet to hear of keep theirs.
    """
    from jobfetcher.cli import asking

    seconds = None if history is None else asking.history(history)
    asked = asking.of_worker(path_base, "prune", dry_run=dry_run, history=seconds)
    raise typer.Exit(asking.settle(asked, 0 if no_wait else timeout, as_json))
