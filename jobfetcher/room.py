"""How much of the disk jobs may fill: what is free beyond what must stay free, promised to one only."""

import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from jobfetcher.units import size
from states.errors import JobFailed


class Room:
    """The disk of ``folder``, of which ``least`` bytes must stay free. Safe from any thread.

    ``free`` tells the bytes free where a path lies.
    """

    def __init__(
        self,
        folder: Path,
        least: int = 0,
        free: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free,
    ) -> None:
        self._folder = folder
        self._least = least
        self._free = free
        self._lock = threading.Lock()
        self._promised = 0

    def shortage(self) -> str:
        """A sentence if less is free than must stay free; empty if there is room."""
        free = self._free(self._folder)
        if free - self._promised >= self._least:
            return ""
        return f"No space left on the worker's disk: {size(free)} are free, {self._kept()}."

    @contextmanager
    def claim(self) -> Iterator["Claim"]:
        """A place for the files of one job, until the block ends."""
        claim = Claim(self)
        try:
            yield claim
        finally:
            with self._lock:
                self._promised -= claim.left

    def promise(self, claim: "Claim", more: int) -> None:
        """``more`` bytes are still to come (less than 0: have come). Raises ``JobFailed``."""
        with self._lock:
            claim.left += more
            self._promised += more
            if more <= 0:
                return
            others = self._promised - claim.left
            available = max(0, self._free(self._folder) - self._least - others)
            if claim.left > available:
                raise JobFailed(
                    "There is no space left on the worker's disk for the job's inputs: at least "
                    f"{size(claim.left)} are still to come, {size(available)} can be had: "
                    f"{self._kept(others)}."
                )

    def _kept(self, others: int | None = None) -> str:
        promised = self._promised if others is None else others
        kept = f"{size(self._least)} must stay free (MIN_FREE_DISK)"
        return f"{kept}, {size(promised)} are promised to downloads under way" if promised else kept


class Claim:
    """What one job's inputs still need."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self.left = 0
        """Bytes still to come, as far as known."""

    def portion(self) -> "Portion":
        """The part of one file."""
        return Portion(self._room, self)


class Portion:
    """One file's part of a claim. For one thread at a time."""

    def __init__(self, room: Room, claim: Claim) -> None:
        self._room = room
        self._claim = claim
        self._left = 0

    def left(self, count: int) -> None:
        """``count`` bytes of it are still to come. Raises ``JobFailed`` if there is no room for them."""
        more, self._left = count - self._left, count
        self._room.promise(self._claim, more)
