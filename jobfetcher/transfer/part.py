"""A file on its way in: kept beside the job's folder until it is whole, then moved into its place.

The unfinished file and a note about it (the server's ETag; at the end size and SHA-256) lie in
``<folder>.parts``, on the same file system, where neither the job nor its uploads see them.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from jobfetcher.failpoints import failpoint
from jobfetcher.transfer.folders import opened, size_of

_BLOCK = 1024 * 1024
_WORTH_A_NOTE = 1024 * 1024
"""Bytes from which on a file is continued by another process. Smaller ones are sooner fetched anew than
noted, and there may be thousands of them."""


def parts_folder(folder: Path) -> Path:
    """Where the unfinished files of the job in ``folder`` lie. To be removed along with it."""
    return folder.with_name(folder.name + ".parts")


def remove_parts(folder: Path) -> None:
    """Forget what is unfinished."""
    shutil.rmtree(parts_folder(folder), ignore_errors=True)


class Part:
    """One unfinished file. Use it as a context; leaving it keeps what was written for another try."""

    def __init__(self, folder: Path, parts: Sequence[str]) -> None:
        name = hashlib.sha256("/".join(parts).encode()).hexdigest()[:32]
        self._root = folder
        self._parts = tuple(parts)
        self._path = parts_folder(folder) / f"{name}.part"
        self._note = parts_folder(folder) / f"{name}.json"
        self._hash = hashlib.sha256()
        self._fd = -1
        self.size = 0
        """Bytes written so far."""
        self.etag = ""
        """The server's tag of what is partly here; empty if it cannot be continued."""
        self.whole = False
        """Nothing is left to receive."""

    def __enter__(self) -> Self:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self._fd = os.open(self._path, flags, 0o600)
        noted = self._noted()
        if noted:
            self._hash_what_is_there()
        self.etag = str(noted.get("etag", ""))
        self.whole = noted.get("sha256") == self._hash.hexdigest()
        if not self.whole and not self.etag:
            self.restart()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._fd)

    def restart(self, etag: str = "") -> None:
        """Begin with an empty file, of the version that the server calls ``etag``."""
        os.ftruncate(self._fd, 0)
        os.lseek(self._fd, 0, os.SEEK_SET)
        self._hash = hashlib.sha256()
        self.size = 0
        self.whole = False
        self.etag = etag
        self._note.unlink(missing_ok=True)

    def write(self, piece: memoryview) -> None:
        """Append all of ``piece``. Raises ``OSError``."""
        self._hash.update(piece)
        rest = piece
        while rest:
            rest = rest[os.write(self._fd, rest) :]
        before, self.size = self.size, self.size + len(piece)
        if self.etag and before < _WORTH_A_NOTE <= self.size:
            self._write_note({"etag": self.etag})

    def place(self) -> str:
        """Make the file durable, move it to its place in the job's folder, and return its SHA-256."""
        os.fsync(self._fd)
        sha256 = self._hash.hexdigest()
        if self.size >= _WORTH_A_NOTE:
            self._write_note({"size": self.size, "sha256": sha256})
        failpoint("download.before-rename")
        with opened(self._root, self._parts[:-1], make=True) as target:
            os.fchmod(self._fd, 0o644)
            os.rename(self._path, self._parts[-1], dst_dir_fd=target)
            os.fsync(target)
        failpoint("download.after-rename")
        return sha256

    def placed_before(self) -> tuple[int, str] | None:
        """Size and SHA-256 of the file if an earlier process moved it into place, else None."""
        noted = self._noted()
        if "sha256" not in noted or self._path.exists():
            return None
        there = size_of(self._root, self._parts)
        return (noted["size"], noted["sha256"]) if there == noted["size"] else None

    def _hash_what_is_there(self) -> None:
        block = bytearray(_BLOCK)
        while count := os.readv(self._fd, [block]):
            self._hash.update(memoryview(block)[:count])
            self.size += count

    def _noted(self) -> dict[str, Any]:
        try:
            noted = json.loads(self._note.read_bytes())
        except (OSError, ValueError):
            return {}
        return noted if isinstance(noted, dict) else {}

    def _write_note(self, noted: dict[str, object]) -> None:
        fresh = self._note.with_suffix(".new")
        fresh.write_text(json.dumps(noted), encoding="utf-8")
        fresh.replace(self._note)
