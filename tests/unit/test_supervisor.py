"""How the worker's threads end."""

import signal
import threading
from collections.abc import Iterator

import pytest

from jobfetcher.supervisor import Supervisor

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Part:
    """A part of the worker that has nothing to do."""

    def begin(self) -> None: ...
    def run(self) -> None: ...
    def stop(self) -> None: ...

    def join(self, seconds: float) -> bool:
        return True


class Straggler(Part):
    """Is still at work when the worker ends, and fails after that."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self.failed = threading.Event()

    def run(self) -> None:
        self.over.wait()
        self.failed.set()
        raise RuntimeError("This Connection is closed")


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Signals mean afterwards what they meant before."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_thread_that_fails_after_the_end_does_not_make_the_stop_a_failure() -> None:
    """A clean stop that could not wait for the reporter is no reason for exit code 1: whoever restarts
    failed workers would start it again. Were it one, this process would end here."""
    straggler = Straggler()
    part = Part()
    before = set(threading.enumerate())

    Supervisor(part, straggler, part, part).run()  # type: ignore[arg-type]  # stand-ins
    late = set(threading.enumerate()) - before
    straggler.over.set()
    for thread in late:
        thread.join(10)

    assert [thread.name for thread in late] == ["reporter"]
    assert straggler.failed.is_set()
