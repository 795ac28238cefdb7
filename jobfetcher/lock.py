"""Who uses a worker's folder, found out without getting in their way. Loads nothing."""

import fcntl
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

LOCK = "jobfetcher.lock"


@dataclass(frozen=True)
class Holder:
    """A running worker. Another start of it is another holder, also where its process id is the same."""

    pid: str
    since: int
    """When it took the lock, in nanoseconds since the epoch."""


def holder(folder: Path) -> Holder | None:
    """The worker that uses ``folder``; None if there is none, or nobody can tell.

    Tries the lock for an instant, in a way that several may at once; a worker that starts just then tries
    again.
    """
    with suppress(OSError), (folder / LOCK).open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return Holder(file.read().strip() or "unknown", (folder / LOCK).stat().st_mtime_ns)
    return None
