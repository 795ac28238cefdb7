"""Keeps the end of a container's log on disk, and its last lines for people.

The file is a ring: however much a job prints, it takes no more than ``cap`` bytes.
"""

import os
import re
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from jobfetcher.transfer.folders import FULL
from jobfetcher.transfer.multipart import Span
from states.ports import Stop

CAP = 64 * 1024 * 1024
"""Bytes of a log that are kept."""
BLOCK = 1024 * 1024
LAST_LINES = 20
LAST_CHARS = 3000
_TAIL_BYTES = 32 * 1024
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")


def spool_path(folder: Path) -> Path:
    """Where the log of the job in ``folder`` lies. To be removed along with it."""
    return folder.with_name(folder.name + ".log")


class Spool:
    """One log on its way. Use it as a context; leaving it removes the file, unless it ``stays`` and no error
    came."""

    def __init__(self, path: Path, cap: int = CAP, stays: bool = False) -> None:
        self._path = path
        self._cap = cap
        self._stays = stays
        self._written = 0
        self._tail = b""
        self._fd = -1
        self._full = False

    def __enter__(self) -> Self:
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._fd = os.open(self._path, flags, 0o600)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._stays and error is None:
                self._put_in_order()
            else:
                self._path.unlink(missing_ok=True)
        finally:
            os.close(self._fd)

    def take(self, log: Iterable[bytes], stop: Stop) -> None:
        """Write all of ``log``. On a full disk, only the end of it that fits is kept."""
        for piece in log:
            stop.check()
            self._tail = (self._tail + piece)[-_TAIL_BYTES:]
            self._write(memoryview(piece))

    @property
    def size(self) -> int:
        """Bytes kept."""
        return min(self._written, self._cap)

    @property
    def lost(self) -> int:
        """Bytes of the beginning that were not kept."""
        return self._written - self.size

    def spans(self) -> list[Span]:
        """What is kept, in order."""
        cut = self._written % self._cap if self.lost else 0
        return [(self._fd, cut, self.size - cut), (self._fd, 0, cut)]

    def last_lines(self) -> str:
        """At most ``LAST_LINES`` lines and ``LAST_CHARS`` characters, without control characters."""
        text = _ESCAPES.sub("", self._tail.decode("utf-8", "replace"))
        plain = ("".join(c for c in line if c.isprintable() or c == "\t") for line in text.splitlines())
        lines = [line.rstrip() for line in plain if line.strip()]
        return "\n".join(lines[-LAST_LINES:])[-LAST_CHARS:]

    def _put_in_order(self) -> None:
        """Make the ring a plain file. Where there is no room for that, there is no file."""
        if not self.lost:
            return
        ordered = self._path.with_name(self._path.name + ".ordered")
        try:
            with ordered.open("wb") as file:
                for fd, start, length in self.spans():
                    for at in range(start, start + length, BLOCK):
                        file.write(os.pread(fd, min(BLOCK, start + length - at), at))
            ordered.replace(self._path)
        except OSError:
            ordered.unlink(missing_ok=True)
            self._path.unlink(missing_ok=True)

    def _write(self, piece: memoryview) -> None:
        while piece and not self._full:
            place = self._written % self._cap
            try:
                count = self._store(piece[: self._cap - place], place)
            except OSError as error:
                if error.errno not in FULL:
                    raise
                self._full = not 0 < place == self._written
                self._cap = self._cap if self._full else place  # from here on the ring is what fitted
                continue
            self._written += count
            piece = piece[count:]

    def _store(self, piece: memoryview, place: int) -> int:
        return os.pwrite(self._fd, piece, place)
