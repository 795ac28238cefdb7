"""A file on its way in: kept beside the job's folder until it is whole, then moved into its place.

The unfinished file and a note about it (the server's ETag; at the end size and SHA-256) lie in
``<folder>.parts``, on the same file system, where neither the job nor its uploads see them.

Usually the file grows at its end, and what is there of it is here. One that is received in several ranges
at once has holes: its note tells its front as well, up to which it has none, and that may only be too low.
"""

import hashlib
import json
import os
import shutil
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from jobfetcher.failpoints import failpoint
from jobfetcher.transfer.batch import SMALL
from jobfetcher.transfer.digest import Digest
from jobfetcher.transfer.folders import FULL, IN_THE_WAY, opened, size_of
from jobfetcher.transfer.follower import NOTE_SECONDS, Follower
from states.errors import JobFailed

_BLOCK = 256 * 1024
_WORTH_A_NOTE = SMALL
"""Bytes from which on a file is continued by another process. Smaller ones are sooner fetched anew than
noted, and there may be thousands of them."""


def parts_folder(folder: Path) -> Path:
    """Where the unfinished files of the job in ``folder`` lie. To be removed along with it."""
    return folder.with_name(folder.name + ".parts")


def remove_parts(folder: Path) -> None:
    """Forget what is unfinished."""
    shutil.rmtree(parts_folder(folder), ignore_errors=True)


def not_downloaded(path: str, why: str) -> JobFailed:
    """What the job's owner is told."""
    return JobFailed(f"The input file {path!r} cannot be downloaded: {why}.")


def verdict(path: str, error: OSError) -> Exception:
    """What an error of the system means for the job; the error itself if it means nothing to it."""
    if error.errno in FULL:
        return not_downloaded(path, "there is no space left on the worker's disk")
    if error.errno in IN_THE_WAY:
        return not_downloaded(path, f"something else is in its place ({os.strerror(error.errno or 0)})")
    return error


class Part:
    """One unfinished file. Use it as a context; leaving it keeps what was written for another try.

    ``fresh``: nothing can be here from an earlier try, so nothing is looked for.
    """

    pause = NOTE_SECONDS

    def __init__(self, folder: Path, parts: Sequence[str], fresh: bool = False) -> None:
        name = hashlib.sha256("/".join(parts).encode()).hexdigest()[:32]
        self.root = folder
        self.parts = tuple(parts)
        """Its path in the job's folder."""
        unfinished = parts_folder(folder)
        self.file = unfinished / f"{name}.part"
        """Where it lies until it is placed."""
        self._note = unfinished / f"{name}.json"
        self._fresh = fresh
        self._noted_there = not fresh
        self._digest = Digest()
        self._follower: Follower | None = None
        self._fd = -1
        self.size = 0
        """All bytes before this are here."""
        self.etag = ""
        """The server's tag of what is partly here; empty if it cannot be continued."""
        self.whole = False
        """Nothing is left to receive."""

    @property
    def path(self) -> str:
        """Its path in the job's folder, for people."""
        return "/".join(self.parts)

    def __enter__(self) -> Self:
        noted = self._noted()
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | (0 if noted else os.O_TRUNC)
        self._fd = os.open(self.file, flags, 0o600)
        try:
            self._take_up(noted)
        except BaseException:
            self.close()
            raise
        return self

    def _take_up(self, noted: dict[str, Any]) -> None:
        self.etag = str(noted.get("etag", ""))
        if "front" in noted:
            self._cut_to(noted["front"])
        if noted:
            self._hash_what_is_there()
        self.whole = noted.get("sha256") == self._digest.hexdigest()
        if not self.whole and not self.etag:
            self.restart()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _cut_to(self, front: int) -> None:
        """Take away what lies behind holes, for good; then the file grows at its end again."""
        if os.fstat(self._fd).st_size > front:
            os.ftruncate(self._fd, front)
        os.fsync(self._fd)
        self._write_note({"etag": self.etag})

    def close(self) -> None:
        """What was written stays."""
        self._stop_following()
        self._digest.close()
        os.close(self._fd)

    def restart(self, etag: str = "") -> None:
        """Begin with an empty file, of the version that the server calls ``etag``."""
        if self.size or self._follower:
            self._stop_following()
            os.ftruncate(self._fd, 0)
            self._digest.close()
            self._digest = Digest()
        self.size = 0
        self.whole = False
        self.etag = etag
        if self._noted_there:
            self._note.unlink(missing_ok=True)
            self._noted_there = False

    def spread(self) -> None:
        """From now on pieces may be written further on than where the file ends. Raises ``OSError``."""
        self._note_front(self.size)
        with opened(self._note.parent) as folder:
            os.fsync(folder)
        self._follower = Follower(self._fd, self._digest, self.size, self._note_front, self.pause)

    def write(self, piece: bytes, place: int) -> None:
        """Write all of ``piece`` at ``place``. Raises ``OSError``."""
        if self._follower is None:
            self._digest.update(piece)
        rest = memoryview(piece)
        while rest:
            written = os.pwrite(self._fd, rest, place)
            rest, place = rest[written:], place + written

    def reach(self, front: int) -> None:
        """All bytes before ``front`` are written. Raises ``OSError``."""
        before, self.size = self.size, front
        if self._follower is not None:
            self._follower.advance(front)
        elif self.etag and before < _WORTH_A_NOTE <= front:
            self._write_note({"etag": self.etag})

    def finish(self) -> str:
        """Make the file durable, ready to be placed, and return its SHA-256."""
        if self._follower is not None:
            self._follower.finish()
            self._follower = None
        os.fchmod(self._fd, 0o644)
        os.fsync(self._fd)
        sha256 = self._digest.hexdigest()
        if self.size >= _WORTH_A_NOTE:
            self._write_note({"size": self.size, "sha256": sha256})
        return sha256

    def placed_before(self) -> tuple[int, str] | None:
        """Size and SHA-256 of the file if an earlier process moved it into place, else None."""
        noted = self._noted()
        if "sha256" not in noted or self.file.exists():
            return None
        there = size_of(self.root, self.parts)
        return (noted["size"], noted["sha256"]) if there == noted["size"] else None

    def _hash_what_is_there(self) -> None:
        while piece := os.read(self._fd, _BLOCK):
            self._digest.update(piece)
            self.size += len(piece)

    def _stop_following(self) -> None:
        if self._follower is not None:
            self._follower.close()
            self._follower = None

    def _noted(self) -> dict[str, Any]:
        if self._fresh:
            return {}
        try:
            noted = json.loads(self._note.read_bytes())
        except (OSError, ValueError):
            return {}
        return noted if isinstance(noted, dict) else {}

    def _note_front(self, front: int) -> None:
        self._sync()  # or after a power cut a hole would be taken for data
        self._write_note({"etag": self.etag, "front": front}, flush=True)

    def _sync(self) -> None:
        os.fdatasync(self._fd)

    def _write_note(self, noted: dict[str, object], flush: bool = False) -> None:
        self._noted_there = True
        fresh = self._note.with_suffix(".new")
        with fresh.open("w", encoding="utf-8") as file:
            json.dump(noted, file)
            if flush:
                file.flush()
                os.fsync(file.fileno())
        fresh.replace(self._note)


def place_all(parts: Iterable[Part]) -> None:
    """Move finished files to their places; on return they are there for good.

    Each folder is flushed once for all of its files. Raises ``JobFailed`` if something is in the way of one.
    """
    folders: dict[tuple[Path, tuple[str, ...]], list[Part]] = defaultdict(list)
    for part in parts:
        folders[part.root, part.parts[:-1]].append(part)
    for (root, below), inside in folders.items():
        part = inside[0]
        try:
            with opened(root, below, make=True) as target:
                for part in inside:
                    failpoint("download.before-rename")
                    os.rename(part.file, part.parts[-1], dst_dir_fd=target)
                os.fsync(target)
        except OSError as error:
            raise verdict(part.path, error) from error
        for _ in inside:
            failpoint("download.after-rename")
