"""The threads that have no file of their own: they receive ranges of the others' files."""

import threading
from contextvars import copy_context
from typing import Protocol

from jobfetcher.transfer.ranges import WAIT_SECONDS


class Shared(Protocol):
    """A file of which ranges are to be had."""

    @property
    def shared(self) -> int:
        """How many connections receive it."""

    def lend(self) -> bool:
        """Receive one range in this thread; False if there is none now or it breaks off."""


class Hands:
    """Brings both together. Safe from any thread. Close it.

    ``files`` is how many are still to come. ``spare`` threads more are started once a file is offered.
    """

    def __init__(self, files: int, spare: int = 0) -> None:
        self._left = files
        self._changed = threading.Condition()
        self._offers: list[Shared] = []
        self._unborn = spare
        self._threads: list[threading.Thread] = []
        self.count = spare
        """Threads that have no file of their own."""

    def lend(self) -> None:
        """Receive ranges of whatever is offered, until no file is on its way any more."""
        with self._changed:
            self.count += 1
        self._lend()

    def offer(self, file: Shared) -> None:
        """Ranges of that file are to be had."""
        with self._changed:
            if file not in self._offers:
                self._offers.append(file)
            self._changed.notify_all()
            born, self._unborn = self._unborn, 0
            for _ in range(born):
                thread = threading.Thread(
                    target=copy_context().run, args=(self._lend,), name="transfer-hand", daemon=True
                )
                thread.start()
                self._threads.append(thread)

    def file_ended(self, file: Shared | None = None) -> None:
        """One less is on its way."""
        with self._changed:
            self._left -= 1
            if file in self._offers:
                self._offers.remove(file)
            self._changed.notify_all()

    def leave(self) -> None:
        """Wait for no file any more."""
        with self._changed:
            self._left = 0
            self._changed.notify_all()

    def close(self) -> None:
        """``leave``, and return once all threads that were started have ended."""
        self.leave()
        for thread in self._threads:
            thread.join()

    def _lend(self) -> None:
        while offers := self._offered():
            if not any(offer.lend() for offer in offers):
                self._rest()

    def _offered(self) -> list[Shared]:
        """What is offered, that with the fewest connections first; waits for some. Empty at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._offers or self._left <= 0)
            return [] if self._left <= 0 else sorted(self._offers, key=lambda offer: offer.shared)

    def _rest(self) -> None:
        with self._changed:
            if self._left > 0:
                self._changed.wait(WAIT_SECONDS)
