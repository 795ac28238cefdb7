"""Prints what ``jobfetcher.cli.operate`` shows: checks, settings, hardware, unsent updates."""

import re
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from jobfetcher.cli import look

if TYPE_CHECKING:
    from jobfetcher.doctor import Check
    from jobfetcher.environment import Found
    from jobfetcher.settings import Settings
    from persistence.rows import OutboxRow

COLOURS = {"ok": "green", "warning": "yellow", "failed": "red", "skipped": "dim"}
_LOGIN_IN_URL = re.compile(r"(?<=://)[^/@\s]+(?=@)")
MASK = "***"


def print_checks(checks: "Iterable[Check]", only_hints: bool, json_wanted: bool) -> int:
    """Print each check as soon as it is done. Returns the exit code."""
    done = []
    for check in checks:
        done.append(check)
        if not (only_hints or json_wanted):
            _print_check(check)
    failures = [check for check in done if check.status == "failed"]
    if json_wanted:
        look.as_json({"ok": not failures, "checks": [asdict(check) for check in done]})
    elif only_hints:
        _print_hints([check for check in done if check.status in ("failed", "warning")])
    else:
        print(f"\n{_verdict(len(failures))}")
    return 1 if failures else 0


def _verdict(failures: int) -> str:
    if not failures:
        return "The worker can work."
    return f"The worker cannot work yet: {failures} of the checks failed."


def _print_check(check: "Check") -> None:
    from rich.table import Table

    row = Table.grid(padding=(0, 2))
    row.add_column(width=7)
    row.add_column(width=17, no_wrap=True)
    row.add_column(overflow="fold")
    row.add_row(f"[{COLOURS[check.status]}]{check.status}[/]", check.name, look.plain(check.found))
    if check.mend:
        row.add_row("", "", look.plain(f"→ {check.mend}"))
    look.draw(row)


def _print_hints(checks: "Sequence[Check]") -> None:
    if not checks:
        print("Nothing needs to be done.")
    for number, check in enumerate(checks, 1):
        look.draw(f"{number}. {look.plain(check.mend)}")


def print_config(json_wanted: bool) -> int:
    """Print the settings. Returns the exit code: 2 if they are not complete or not valid."""
    import os

    from jobfetcher.environment import read_env_file
    from jobfetcher.settings import SettingsError, find, load

    problem = ""
    effective: dict[str, Any] = {}
    found = find(os.environ, read_env_file())
    try:
        settings = load()
        effective, found = _with_host_folder(settings, found)
    except SettingsError as error:
        problem = str(error)
    rows = config_rows(effective, found)
    if json_wanted:
        look.as_json(rows)
    else:
        look.draw(_config_table(rows))
    if problem:
        print(f"jobfetcher: {problem}", file=sys.stderr)
    return 2 if problem else 0


def _with_host_folder(
    settings: "Settings", found: "dict[str, Found]"
) -> "tuple[dict[str, Any], dict[str, Found]]":
    """The settings and their origins, with what the worker would find out about its own container."""
    from jobfetcher.app import host_folder
    from jobfetcher.environment import Found
    from jobfetcher.runners.mounts import is_container
    from states.errors import Paused

    effective = settings.model_dump()
    if settings.runner != "docker" or settings.path_host_base is not None or not is_container():
        return effective, found
    with suppress(Paused):
        name = host_folder(settings).name()
        if not name.doubt:
            effective["path_host_base"] = name.folder
            found = {**found, "path_host_base": Found(str(name.folder), "PATH_HOST_BASE", name.origin)}
    return effective, found


def config_rows(effective: Mapping[str, Any], found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Each setting for programs. Without ``effective`` settings the values are as they were written."""
    from jobfetcher.settings import Settings

    rows = []
    for name, field in Settings.model_fields.items():
        given = found.get(name)
        written = given.value if given else None if field.is_required() else field.default
        rows.append(
            {
                "name": name.upper(),
                "value": shown(effective.get(name, written), "Secret" in str(field.annotation)),
                "from": given.place if given else "default",
                "variable": given.variable if given else None,
                "description": field.description,
            }
        )
    return rows


def shown(value: Any, secret: bool) -> Any:
    """A setting's value as it may be seen."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if secret:
        return MASK
    if isinstance(value, tuple):
        return list(value)
    return _LOGIN_IN_URL.sub(MASK, str(value))


def _config_table(rows: Iterable[Mapping[str, Any]]) -> Any:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("NAME", no_wrap=True)
    table.add_column("VALUE", overflow="fold")
    table.add_column("FROM", no_wrap=True)
    table.add_column("MEANING", overflow="fold", style="dim")
    for row in rows:
        value = ", ".join(row["value"]) if isinstance(row["value"], list) else row["value"]
        table.add_row(
            row["name"],
            "-" if value in (None, "") else look.plain(value),
            row["from"] if row["variable"] in (None, row["name"]) else f"{row['from']} ({row['variable']})",
            look.plain(row["description"]),
        )
    return table


def print_outbox(unsent: "Sequence[tuple[str, OutboxRow]]", json_wanted: bool) -> None:
    """Print updates that the API has yet to hear."""
    now = time.time()
    lines = [
        {
            "id": row.id,
            "job": job,
            "status": row.status,
            "detail": row.detail,
            "queued_at": row.queued_at,
            "age": round(max(0.0, now - row.queued_at), 1),
        }
        for job, row in unsent
    ]
    if json_wanted:
        look.as_json(lines)
    elif not lines:
        print("The API has heard everything.")
    else:
        look.draw(_outbox_table(lines))


def _outbox_table(lines: Iterable[Mapping[str, Any]]) -> Any:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("JOB", justify="right")
    table.add_column("STATUS")
    table.add_column("WAITS FOR", justify="right")
    table.add_column("DETAIL", overflow="ellipsis", no_wrap=True)
    for line in lines:
        detail = line["detail"].splitlines()[0] if line["detail"] else ""
        table.add_row(look.plain(line["job"]), line["status"], look.span(line["age"]), look.plain(detail))
    return table
