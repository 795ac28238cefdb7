"""Stop signals for tests: the real one, for it has nothing to fake."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from jobfetcher.stop import Reason, StopSignal


@contextmanager
def set_after(seconds: float, reason: Reason = "shutdown") -> Iterator[StopSignal]:
    """A stop that is set by another thread a little later."""
    stop = StopSignal()
    timer = threading.Timer(seconds, stop.set, [reason])
    timer.start()
    try:
        yield stop
    finally:
        timer.cancel()
        timer.join()
