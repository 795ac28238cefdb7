"""The last lines that a job's container has written, as long as it is on this machine."""

from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from jobfetcher.runners.engine import NotThere, Refused, Stream, StreamBroken
from jobfetcher.runners.multiplexed import payloads
from states.errors import Paused

LINES = 40
MOST = 16 * 1024
"""Bytes of them."""
TOO_LONG = 1024 * 1024
"""Bytes after which the engine is not listened to any more: 40 lines may be of any length."""


class Tailing(Protocol):
    """What is asked of an engine."""

    def tail(self, container: str, lines: int) -> AbstractContextManager[Stream]:
        """The last lines that a container wrote. Raises ``NotThere`` or ``Paused``."""


class Log:
    """``runs`` is the process runner's folder, ``engine`` that of containers; None: there is none."""

    def __init__(self, runs: Path, engine: Tailing | None) -> None:
        self._runs = runs
        self._engine = engine

    def tail(self, job: Mapping[str, Any]) -> bytes:
        """The last lines of the job's current run; empty where there are none."""
        run = job["container"]
        if not run:
            return b""
        if self._engine is None:
            return _of_file(self._runs / Path(run["name"]).name / "output.log")
        try:
            with self._engine.tail(run["id"], LINES) as stream:
                return _end(payloads(stream.chunks()))
        except (NotThere, Refused, StreamBroken, Paused):
            return b""


def _of_file(file: Path) -> bytes:
    try:
        with file.open("rb") as output:
            output.seek(max(0, output.seek(0, 2) - MOST))
            return _last_lines(output.read(MOST))
    except OSError:
        return b""


def _end(pieces: Iterator[bytes]) -> bytes:
    kept: deque[bytes] = deque(maxlen=64)
    heard = 0
    for piece in pieces:
        kept.append(piece)
        heard += len(piece)
        if heard > TOO_LONG:
            break
    return _last_lines(b"".join(kept)[-MOST:])


def _last_lines(text: bytes) -> bytes:
    return b"\n".join(text.splitlines()[-LINES:])
