"""``jobfetcher health``: one sentence and an exit code, for Docker's HEALTHCHECK and for scripts.

Runs every half minute for ever: the standard library only.
"""

import http.client
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from jobfetcher import board_file
from jobfetcher.environment import value_of
from jobfetcher.lock import holder
from jobfetcher.status.health import Disk, Verdict, works

ANSWER_SECONDS = 4.0
"""Docker's own patience is 5 s."""
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""What is open everywhere is asked here."""


def examine(
    base: Path,
    read: Callable[[str], str | None] = value_of,
    clock: Callable[[], float] = time.time,
) -> Verdict:
    """Ask the worker's port where it has one, else look at its lock and its status file."""
    port = read("STATUS_PORT")
    if port is None or port == "0":
        return of_files(base, clock())
    host = read("STATUS_HOST") or "127.0.0.1"
    return of_port(EVERYWHERE.get(host, host), port)


def of_port(host: str, port: str) -> Verdict:
    """What ``/healthz`` says."""
    bracketed = f"[{host}]" if ":" in host else host
    url = f"http://{bracketed}:{port}/healthz"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=ANSWER_SECONDS):
            return Verdict()
    except urllib.error.HTTPError as error:
        with error:
            said = error.read(4096).decode("utf-8", "replace").split("\n")
        return Verdict(tuple(filter(None, said)) or (f"{url} answers {error.code}.",))
    except (OSError, http.client.HTTPException, ValueError) as error:
        why = getattr(error, "reason", None) or error
        return Verdict((f"No worker answers at {url} ({why}); start it with 'jobfetcher run'.",))


def of_files(
    base: Path, now: float, usage: Callable[[Path], tuple[int, int, int]] = shutil.disk_usage
) -> Verdict:
    """Somebody holds the lock, and the status file, if it is there, is fresh and without complaints.

    ``usage``: the bytes in all, used and free of the disk where a path lies. On a full one no status file can
    be written, so an old one is no sign of death.
    """
    if holder(base) is None:
        return Verdict((f"No worker runs in {base}; start it with 'jobfetcher run'.",))
    status = board_file.read(base)
    total, _, free = usage(base)
    disk = Disk(free, total, least=0)
    if status is None:
        return Verdict(tuple(disk.problems({})))  # it has only just started
    silent = now - status["at"]
    if silent > board_file.STALE_SECONDS and not disk.is_full:
        return Verdict((f"The worker has written no sign of life for {silent:.0f} s; restart it.",))
    return works(status, disk)


def print_health(base: Path, json_wanted: bool) -> int:
    """Print the verdict. Returns the exit code."""
    verdict = examine(base)
    if json_wanted:
        import json

        print(json.dumps(verdict.as_dict()))
    else:
        print("The worker is healthy." if verdict.ok else verdict.text, end="\n" if verdict.ok else "")
    return 0 if verdict.ok else 1
