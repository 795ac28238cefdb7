"""Bytes that have moved since the start: what the metrics count."""

from jobfetcher.progress import Board


def test_bytes_are_counted_while_they_move_and_after() -> None:
    """By phase, over all jobs; what was there already has not moved."""
    board = Board()
    with board.meter(1, "download") as first, board.meter(2, "download") as second:
        first.already(1000)
        first.add(30)
        second.add(4)
        during = board.moved()
    with board.meter(1, "upload") as third:
        third.add(5)

    assert {"download": 34, "pull": 0, "upload": 0} == during
    assert {"download": 34, "pull": 0, "upload": 5} == board.moved()


def test_a_count_never_falls() -> None:
    """What moved in vain and must move again has moved; a meter below zero takes nothing from the others."""
    board = Board()
    with board.meter(1, "download") as meter:
        meter.add(10)
    with board.meter(1, "download") as meter:
        meter.add(-10)

        assert 10 == board.moved()["download"]
    assert 10 == board.moved()["download"]
