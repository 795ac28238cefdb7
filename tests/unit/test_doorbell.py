"""A worker that waits hears of requests at once, whoever rings, and needs nobody to ring."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from jobfetcher.doorbell import NAME, Doorbell, PipedDoorbell, hung, ring

LONG = 60.0
"""Seconds that nobody wants to wait."""


def waits(doorbell: Doorbell, seconds: float) -> float:
    """How long it waits."""
    began = time.monotonic()
    doorbell.wait(seconds)
    return time.monotonic() - began


@contextmanager
def waiting(doorbell: Doorbell) -> Iterator[threading.Thread]:
    """Somebody waits within the block, and has heard at its end."""
    thread = threading.Thread(target=doorbell.wait, args=(LONG,))
    thread.start()
    yield thread
    thread.join(LONG / 2)
    assert not thread.is_alive()


@pytest.fixture
def doorbell(tmp_path: Path) -> Iterator[Doorbell]:
    with hung(tmp_path) as made:
        yield made


def test_a_command_is_heard_at_once(tmp_path: Path, doorbell: Doorbell) -> None:
    """Whoever waits is woken by another process's ring; here it is another opening of the pipe."""
    with waiting(doorbell):
        ring(tmp_path)

    assert (tmp_path / NAME).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("by", [lambda _: None, ring], ids=["itself", "a command"])
def test_a_ring_before_the_wait_counts_once(
    tmp_path: Path, doorbell: Doorbell, by: Callable[[Path], None]
) -> None:
    """It ends the next wait, however often it rang, and not the one after that."""
    for _ in range(3):
        doorbell.ring()
        by(tmp_path)

    assert waits(doorbell, LONG) < LONG / 2
    assert waits(doorbell, 0.05) >= 0.05


def test_without_a_ring_a_wait_ends(doorbell: Doorbell) -> None:
    """After the time that was asked for."""
    assert waits(doorbell, 0.05) >= 0.05


def test_more_rings_than_fit_do_no_harm(tmp_path: Path, doorbell: Doorbell) -> None:
    """Nobody who rings waits for somebody who listens."""
    for _ in range(70_000):
        doorbell.ring()
    ring(tmp_path)

    assert waits(doorbell, LONG) < LONG / 2
    assert waits(doorbell, 0.05) >= 0.05


def test_the_pipe_of_one_that_was_killed_is_used_again(tmp_path: Path) -> None:
    """It is left behind; ringing there is no error, and the next worker hears."""
    os.mkfifo(tmp_path / NAME)
    ring(tmp_path)
    with hung(tmp_path) as doorbell, waiting(doorbell):
        ring(tmp_path)

    assert list(tmp_path.iterdir()) == []


def test_nobody_there_is_no_error(tmp_path: Path) -> None:
    """No worker ever ran, or an older version runs."""
    ring(tmp_path)

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("in_the_way", ["a file", "no folder"])
def test_where_there_can_be_no_pipe_it_is_looked_more_often(tmp_path: Path, in_the_way: str) -> None:
    """A file under its name is left as it is; the worker can still be told to stop."""
    if in_the_way == "a file":
        (tmp_path / NAME).write_text("mine")
    folder = tmp_path if in_the_way == "a file" else tmp_path / "none"
    ring(folder)
    with hung(folder) as doorbell:
        with waiting(doorbell):
            doorbell.ring()

        assert (type(doorbell), doorbell.period < PipedDoorbell.period) == (Doorbell, True)
    assert [file.read_text() for file in tmp_path.iterdir()] == (["mine"] if in_the_way == "a file" else [])


def test_one_that_is_taken_down_is_silent(tmp_path: Path) -> None:
    """A thread that waits for it still does no harm: the file's number may be another's by then."""
    with hung(tmp_path) as doorbell:
        pass
    doorbell.ring()

    assert waits(doorbell, 0.05) < LONG / 2
