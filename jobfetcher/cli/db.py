"""``jobfetcher db``: looking after the worker's database."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jobfetcher.cli.options import Base, Json

if TYPE_CHECKING:
    from persistence.upkeep import Health

app = typer.Typer(help="Look after the worker's database.", no_args_is_help=True, rich_markup_mode=None)


@app.command(epilog="Example: jobfetcher db check")
def check(as_json: Json = False, path_base: Base = None) -> None:
    """Read the whole database and say whether it is sound. Works beside a running worker."""
    from jobfetcher.cli import look
    from persistence import upkeep

    file = look.database_file(path_base)
    _print(file, upkeep.check(file, thorough=True), "is sound", as_json)


@app.command(epilog="Example: jobfetcher db backup /backup/jobfetcher-$(date +%F).db")
def backup(
    target: Annotated[Path, typer.Argument(metavar="PATH", help="The copy; there must be no such file yet.")],
    as_json: Json = False,
    path_base: Base = None,
) -> None:
    """Copy the database as of one instant, and check the copy. Works beside a running worker."""
    from jobfetcher.cli import look
    from persistence import upkeep

    try:
        health = upkeep.save(look.database_file(path_base), target)
    except upkeep.BackupExists as error:
        raise look.Unanswerable(str(error)) from None
    _print(target, health, "is a sound copy", as_json)


@app.command(epilog="Example: jobfetcher db upgrade")
def upgrade(as_json: Json = False, path_base: Base = None) -> None:
    """Bring the database of an older version up to date, after a copy. The worker must not run.

    The worker does the same when it starts.
    """
    from jobfetcher.cli import look
    from persistence import migrate, upkeep
    from persistence.path import url_of

    file = look.database_file(path_base)
    upkeep.check(file)  # there must be one: nothing is made anew here
    with _alone(path_base):
        migrate.upgrade(url_of(file))
    _print(file, upkeep.check(file), "is up to date", as_json)


@app.command(epilog="Example: jobfetcher db restore /data/jobfetcher.db.backup-0002")
def restore(
    copy: Annotated[Path, typer.Argument(metavar="PATH", help="A copy that 'db backup' or an upgrade made.")],
    as_json: Json = False,
    path_base: Base = None,
) -> None:
    """Put a copy in the database's place, for an older JobFetcher say. The worker must not run.

    What was there before is kept beside it. Jobs that were at work when the copy was made go on from
    there, although they may have ended since: drain the worker before an upgrade.
    """
    from jobfetcher.cli import look
    from persistence import upkeep

    if not copy.exists():
        raise look.Unanswerable(f"There is no {copy}; name a copy that 'db backup' or an upgrade made.")
    file = look.database_file(path_base)
    with _alone(path_base):
        health, kept = upkeep.restore(file, copy)
    extra = {"kept": str(kept) if kept else None}
    _print(file, health, f"is what {copy} was", as_json, extra)
    if not as_json and kept:
        print(f"What was there before is kept as {kept}.")
    if not as_json and health.live:
        print(f"Not ended when it was made, so they go on from there: {health.live}.")


@contextmanager
def _alone(path_base: Path | None) -> Iterator[None]:
    """No worker uses the database meanwhile."""
    from jobfetcher.cli import look, operate
    from jobfetcher.lock import Locked, state_lock
    from jobfetcher.supervisor import EXIT_LOCKED

    try:
        with state_lock(operate.base(path_base)):
            yield
    except Locked as error:
        raise look.Unanswerable(str(error), EXIT_LOCKED) from None


def _print(
    file: Path, health: "Health", what: str, as_json: bool, extra: Mapping[str, object] | None = None
) -> None:
    from jobfetcher.cli import look

    if as_json:
        look.as_json({"path": str(file), **asdict(health), **(extra or {})})
        return
    older = "; the next start of the worker upgrades it" if health.is_older else ""
    jobs = "1 job" if health.jobs == 1 else f"{health.jobs} jobs"
    print(f"{file} {what}: {jobs}, {look.size(health.bytes)}, schema {health.revision}{older}.")
