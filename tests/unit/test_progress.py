"""Meters and the board: how far, how fast, how long, and what the log hears of it."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from jobfetcher import progress
from jobfetcher.logs import about
from jobfetcher.progress import Board, Meter, Reading, metered


@dataclass
class Clock:
    """Seconds, as the test sets them."""

    now: float = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_meter_tells_how_far_how_fast_and_how_long(clock: Clock) -> None:
    """300 of 1000 bytes in 3 s: 100 bytes a second, 7 s left."""
    meter = Meter("download", clock)
    meter.plan(1)
    meter.expect(1000)
    clock.now += 3
    meter.add(300)

    assert Reading("download", 300, 1000, 0, 1, 100.0, 7.0) == meter.read()


def test_the_total_is_unknown_before_the_size_of_each_file_is(clock: Clock) -> None:
    """A percentage of what happens to be known so far would mislead."""
    meter = Meter("upload", clock)
    meter.plan(2)
    meter.expect(10)
    before = meter.read().total
    meter.expect(20)

    assert (None, 30) == (before, meter.read().total)


def test_a_rate_forgets_what_is_long_past(clock: Clock) -> None:
    """After a stall the rate is that of the last ten seconds: nothing."""
    meter = Meter("pull", clock)
    for _ in range(5):
        clock.now += 1
        meter.add(100)
        meter.read()
    running = meter.read().rate
    for _ in range(12):
        clock.now += 1
        meter.read()

    assert (100.0, 0.0) == (running, meter.read().rate)


def test_what_was_here_before_is_done_but_did_not_move(clock: Clock) -> None:
    """A download that goes on after a crash does not begin with a fabulous rate."""
    meter = Meter("download", clock)
    meter.plan(2)
    meter.share().found_whole(500)
    share = meter.share()
    share.found(200)
    share.expects(300)
    clock.now += 1
    share.at(250)

    assert Reading("download", 750, 800, 1, 2, 50.0, 1.0) == meter.read()


def test_a_file_that_begins_anew_is_not_counted_twice(clock: Clock) -> None:
    """Whatever a file's share is told, and how often: the meter has its bytes and its size once."""
    meter = Meter("download", clock)
    meter.plan(1)
    share = meter.share()
    for size, here in ((100, 60), (100, 0), (80, 80)):
        share.expects(size)
        share.at(here)
    share.whole()

    assert (80, 80, 1) == (meter.read().done, meter.read().total, meter.read().files)


def test_a_file_without_a_known_size_gets_one_when_it_is_whole(clock: Clock) -> None:
    """A server that does not say how long its answer is spoils the total only until the end."""
    meter = Meter("download", clock)
    meter.plan(1)
    share = meter.share()
    share.at(70)
    before = meter.read().total
    share.whole()

    assert (None, 70) == (before, meter.read().total)


def test_more_than_expected_is_no_more_than_everything(clock: Clock) -> None:
    """A file that grows while it is sent never makes 101 %."""
    meter = Meter("upload", clock)
    meter.plan(1)
    meter.expect(10)
    meter.add(15)

    assert (15, 15) == (meter.read().done, meter.read().total)


def test_the_board_shows_a_job_s_meters_while_they_last() -> None:
    """What a thread measures for a job appears under its key and goes with the block; both are told."""
    changes: list[bool] = []
    board = Board(on_change=lambda: changes.append(board.busy()))
    with board.of_job(7), metered("download") as meter:
        meter.add(5)
        shown = board.readings()

    assert [("download", 5)] == [(one["phase"], one["done"]) for one in shown[7]]
    assert ({}, [True, False]) == (board.readings(), changes)


def test_without_a_board_a_meter_is_nobody_s() -> None:
    """A cloud function measures for nobody, and needs to know nothing of it."""
    with metered("upload") as meter:
        meter.add(3)

    assert meter.read().done == 3


def lines(caplog: pytest.LogCaptureFixture) -> list[tuple[str, object]]:
    return [
        (record.message, getattr(record, "bytes", getattr(record, "done", None))) for record in caplog.records
    ]


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Callable[[], list[tuple[str, object]]]:
    caplog.set_level(logging.INFO, logger=progress.__name__)
    return lambda: lines(caplog)


def test_the_log_hears_of_what_lasts_long(
    clock: Clock, logged: Callable[[], list[tuple[str, object]]]
) -> None:
    """First after ten seconds, then every thirty, and once at the end with the whole figures."""
    board = Board(clock=clock)
    with board.meter(1, "download") as meter:
        for _ in range(45):
            clock.now += 1
            meter.add(1)
            board.tell()

    expected = [("transfer.progress", 10), ("transfer.progress", 40), ("transfer.finished", 45)]
    assert expected == logged()


def test_the_log_hears_nothing_of_what_is_soon_over(
    clock: Clock, logged: Callable[[], list[tuple[str, object]]]
) -> None:
    """A transfer of nine seconds has no line."""
    board = Board(clock=clock)
    with board.meter(1, "download"):
        clock.now += 9
        board.tell()

    assert logged() == []


def test_a_transfer_that_breaks_has_no_line_of_its_end(
    clock: Clock, logged: Callable[[], list[tuple[str, object]]]
) -> None:
    """Whoever raised says why; it did not finish."""
    board = Board(clock=clock)

    def breaks() -> None:
        with board.meter(1, "upload"):
            clock.now += 60
            raise KeyError

    with pytest.raises(KeyError):
        breaks()

    assert (logged(), board.busy()) == ([], False)


def test_the_lines_carry_the_job_s_id_whichever_thread_logs_them(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """The clerk's thread works for no job, and yet its lines say whose transfer it is."""
    from jobfetcher import logs

    board = Board(clock=clock)
    said: list[dict[str, object]] = []

    class Fields(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(logs.Masked().fields(record))

    handler = Fields()
    progress.log.addHandler(handler)
    caplog.set_level(logging.INFO, logger=progress.__name__)
    try:
        with about(job_id="17"):
            shown = board.meter(1, "pull")
            shown.__enter__()
        clock.now += 10
        board.tell()
        shown.__exit__(None, None, None)
    finally:
        progress.log.removeHandler(handler)

    assert [("17", "pull")] * 2 == [(line["job_id"], line["phase"]) for line in said]
