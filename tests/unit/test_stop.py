"""The stop signal keeps its promises under threads."""

import threading

import pytest

from jobfetcher.stop import StopSignal
from states.errors import JobGone, Paused


def test_it_says_why() -> None:
    """Unset it is silent; set it raises what its reason means, and gone wins whatever comes first."""
    stop = StopSignal()
    stop.check()

    stop.set("shutdown")
    with pytest.raises(Paused):
        stop.check()
    stop.set("gone")
    with pytest.raises(JobGone):
        stop.check()
    stop.set("shutdown")
    assert stop.reason == "gone"


def test_a_sleep_is_woken() -> None:
    """A sleep ends when the signal is set, and says so."""
    stop = StopSignal()
    assert stop.wait(0) is False

    timer = threading.Timer(0.05, stop.set, ["gone"])
    timer.start()
    assert stop.wait(60) is True
    timer.join()


def test_a_callback_is_called_once() -> None:
    """When set, when set already, not after the block, and its errors go no further."""
    stop = StopSignal()
    calls: list[str] = []

    def fails() -> None:
        raise RuntimeError("bug")

    with stop.interrupts(lambda: calls.append("over")):
        pass
    with stop.interrupts(fails), stop.interrupts(lambda: calls.append("during")):
        stop.set("shutdown")
        stop.set("gone")
    with stop.interrupts(lambda: calls.append("late")):
        assert calls == ["during", "late"]
