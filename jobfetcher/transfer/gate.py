"""Holds several threads until all have come to one place."""

import threading

from states.ports import Stop


class Gate:
    """Opens when ``count`` have arrived, or when somebody has waited for ``seconds``."""

    def __init__(self, count: int, seconds: float) -> None:
        self._missing = count
        self._seconds = seconds
        self._changed = threading.Condition()

    def arrive(self) -> None:
        """One more is here, or will not come."""
        with self._changed:
            self._missing -= 1
            if self._missing <= 0:
                self._changed.notify_all()

    def open(self) -> None:
        """Wait for nobody any more."""
        with self._changed:
            self._missing = 0
            self._changed.notify_all()

    def wait(self, stop: Stop) -> None:
        """Return once it is open, or ``stop`` is set."""
        if self._missing <= 0:
            return
        with stop.interrupts(self.open), self._changed:
            if not self._changed.wait_for(lambda: self._missing <= 0, self._seconds):
                self._missing = 0
