"""SHA-256 of a file while it arrives. That of a large one is made in a thread of its own, beside receiving
and writing: hashing lets other threads run, and takes longer than either."""

import hashlib
import queue
import threading

from jobfetcher.transfer.batch import SMALL

DEPTH = 4
"""Pieces that may wait to be hashed: what a transfer needs of memory."""


class Digest:
    """The hash of the pieces so far. For one thread; close it."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._size = 0
        self._waiting: queue.Queue[bytes | None]
        self._thread: threading.Thread | None = None

    def update(self, piece: bytes) -> None:
        """``piece`` follows; it must not change any more."""
        self._size += len(piece)
        if self._size < SMALL:
            self._hash.update(piece)
            return
        if self._thread is None:
            self._waiting = queue.Queue(DEPTH)
            self._thread = threading.Thread(target=self._run, name="digest", daemon=True)
            self._thread.start()
        self._waiting.put(piece)

    def add(self, piece: bytes) -> None:
        """``piece`` follows, and is hashed when this returns."""
        self.close()
        self._hash.update(piece)

    def hexdigest(self) -> str:
        """The hash of everything so far."""
        self.close()
        return self._hash.hexdigest()

    def close(self) -> None:
        """End the thread, after what it has still to do."""
        if self._thread is not None:
            self._waiting.put(None)
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        while (piece := self._waiting.get()) is not None:
            self._hash.update(piece)
