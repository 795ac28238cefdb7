"""The stop signal keeps its promises under threads."""

import threading
from typing import get_args

import pytest

from jobfetcher.stop import Reason, StopSignal
from states.errors import JobFailed, JobGone, Paused

REASONS: tuple[Reason, ...] = get_args(Reason)


def test_it_says_why() -> None:
    """Unset it is silent; set it raises what its reason means, and a stronger reason wins."""
    stop = StopSignal()
    stop.check()

    stop.set("again")
    with pytest.raises(Paused, match="anew"):
        stop.check()
    stop.set("shutdown")
    with pytest.raises(Paused, match="stopping"):
        stop.check()
    stop.set("cancelled", "No more.")
    with pytest.raises(JobFailed, match=r"^No more\.$"):
        stop.check()
    stop.set("gone")
    with pytest.raises(JobGone):
        stop.check()


@pytest.mark.parametrize("first", REASONS)
@pytest.mark.parametrize("second", REASONS)
def test_whatever_comes_first_the_stronger_reason_stays(first: Reason, second: Reason) -> None:
    """The order in which they come does not matter; the sentence stays with its reason."""
    stop = StopSignal()
    stop.set(first, first)
    stop.set(second, second)

    stronger = max(first, second, key=REASONS.index)
    assert (stop.reason, stop.detail) == (stronger, stronger)


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
