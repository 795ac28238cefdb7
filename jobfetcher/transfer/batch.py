"""Does for many small files at once what would cost each of them a wait for the disk."""

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

COUNT = 64
SECONDS = 0.5
SMALL = 1024 * 1024
"""Bytes from which on a file does not wait for others."""


class Batch(Generic[T]):
    """Collects items and calls ``finish`` with some of them, from the thread that brings the last one.

    That is once there are ``count``, or ``SECONDS`` after the first. ``finish`` is called by one thread at a
    time; items whose ``finish`` raised are forgotten. Safe from any thread.
    """

    def __init__(
        self,
        finish: Callable[[list[T]], None],
        count: int = COUNT,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._finish = finish
        self._count = count
        self._clock = clock
        self._lock = threading.Lock()
        self._finishing = threading.Lock()
        self._items: list[T] = []
        self._since = 0.0

    def add(self, item: T) -> None:
        """One more. Raises what ``finish`` raises."""
        with self._lock:
            if not self._items:
                self._since = self._clock()
            self._items.append(item)
            due = len(self._items) >= self._count or self._clock() - self._since >= SECONDS
        if due:
            self.flush()

    def flush(self) -> None:
        """Let nothing wait any longer. Raises what ``finish`` raises."""
        with self._finishing:
            with self._lock:
                items, self._items = self._items, []
            if items:
                self._finish(items)
