"""What goes on beside the worker's lives: each actor is a thread that does one thing again and again."""

import random
import threading


def drawn(seed: int, what: object) -> random.Random:
    """The source of decisions about ``what``: the same for the same seed, whatever else happens."""
    return random.Random(f"{seed}/{what}")


class Actor(threading.Thread):
    """Calls ``act`` until finished; it returns the seconds until the next time."""

    def __init__(self) -> None:
        super().__init__(name=type(self).__name__, daemon=True)
        self._over = threading.Event()
        self._error: Exception | None = None

    def act(self) -> float:
        raise NotImplementedError

    def run(self) -> None:
        try:
            while not self._over.is_set():
                self._over.wait(self.act())
        except Exception as error:
            self._error = error

    def finish(self) -> None:
        """End it after what it does just now. Raises what stopped it early."""
        self._over.set()
        self.join()
        if self._error is not None:
            raise self._error
