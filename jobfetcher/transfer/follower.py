"""Hashes a file that is written in several places, and has it noted how far it is whole.

It runs behind the file's front, up to which all bytes are here, and reads back what was written a moment
ago.
"""

import os
import threading
import time
from collections.abc import Callable

from jobfetcher.transfer.digest import Digest

_BLOCK = 256 * 1024
NOTE_SECONDS = 2.0
"""Seconds between two notes."""


class Follower:
    """Follows the front of the open file ``fd``, whose first ``front`` bytes ``digest`` knows.

    ``note`` is called with a front that was reached, every ``pause`` seconds at most.
    """

    def __init__(
        self, fd: int, digest: Digest, front: int, note: Callable[[int], None], pause: float = NOTE_SECONDS
    ) -> None:
        self._fd = fd
        self._digest = digest
        self._note = note
        self._pause = pause
        self._front = self._hashed = front
        self._noted_at = time.monotonic()
        self._changed = threading.Condition()
        self._leaving = False
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="follower", daemon=True)
        self._thread.start()

    def advance(self, front: int) -> None:
        """All bytes before ``front`` are here. Raises ``OSError`` if something went wrong meanwhile."""
        with self._changed:
            self._front = front
            self._changed.notify_all()
            if self._error is not None:
                raise self._error

    def finish(self) -> None:
        """Return once the digest knows everything before the front. Raises ``OSError``."""
        with self._changed:
            self._changed.wait_for(lambda: self._hashed == self._front or self._error is not None)
            if self._error is not None:
                raise self._error
        self.close()

    def close(self) -> None:
        """Follow no more; return once the file is not used any more."""
        with self._changed:
            self._leaving = True
            self._changed.notify_all()
        self._thread.join()

    def _run(self) -> None:
        try:
            while (front := self._next()) is not None:
                self._hash(front)
                if time.monotonic() - self._noted_at >= self._pause:
                    self._note(front)
                    self._noted_at = time.monotonic()
        except Exception as error:  # it is raised again by those who wait
            with self._changed:
                self._error = error
                self._changed.notify_all()

    def _next(self) -> int | None:
        """A front further on than what is hashed, or None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._leaving or self._front > self._hashed)
            return None if self._leaving else min(self._front, self._hashed + 16 * _BLOCK)

    def _hash(self, front: int) -> None:
        place = self._hashed
        while place < front:
            piece = os.pread(self._fd, min(_BLOCK, front - place), place)
            if not piece:
                raise OSError(f"The file became shorter than {front} bytes.")
            self._digest.add(piece)
            place += len(piece)
        with self._changed:
            self._hashed = front
            self._changed.notify_all()
