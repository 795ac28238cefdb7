"""The lock on a worker's folder: one worker holds it, and anybody may look who. Loads next to nothing."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

LOCK = "jobfetcher.lock"
LOCK_SECONDS = 1.0
"""How long the lock may be held by somebody who only looks at it."""


class Locked(Exception):
    """The state folder cannot be had alone: another worker uses it, or its file system has no locks."""


class NoLocks(OSError):
    """The file system has no working locks."""


@dataclass(frozen=True)
class Holder:
    """A running worker. Another start of it is another holder, also where its process id is the same."""

    pid: str
    since: int
    """When it took the lock, in nanoseconds since the epoch."""


@contextmanager
def state_lock(folder: Path) -> Iterator[None]:
    """Hold the state folder alone. The lock dies with the process, however it dies.

    Raises ``Locked`` with the other worker's process id.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("a+") as file:
        try:
            _take(file)
        except BlockingIOError:
            file.seek(0)
            raise Locked(
                f"Another worker (process {_pid(file)}) already uses {folder}. "
                "Stop it first, or give this one another PATH_BASE."
            ) from None
        except OSError as error:
            raise Locked(
                f"The file system of {folder} has no working locks ({error.strerror}), so a second worker "
                "could not be noticed. Choose a PATH_BASE on a local disk."
            ) from error
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def holder(folder: Path) -> Holder | None:
    """The worker that uses ``folder``; None if there is none, or nobody can tell."""
    with suppress(OSError):
        return look(folder)
    return None


def look(folder: Path) -> Holder | None:
    """The worker that uses ``folder``, or None.

    Tries the lock for an instant, in a way that several may at once; a worker that starts just then tries
    again. Raises ``FileNotFoundError`` if none has run here yet, ``NoLocks``, or another ``OSError`` if the
    lock cannot be read.
    """
    with (folder / LOCK).open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return Holder(_pid(file), os.fstat(file.fileno()).st_mtime_ns)
        except OSError as error:
            raise NoLocks(error.errno, error.strerror) from error
    return None


def _pid(file: TextIO) -> str:
    return file.read().strip() or "unknown"


def _take(file: TextIO) -> None:
    """Lock the file, or raise ``OSError``. Tried for a moment: whoever looks holds it for an instant."""
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise
            time.sleep(LOCK_SECONDS / 50)
