"""The simulated fleet: what it counts, and that it is the shipped policy which decides."""

import random
from pathlib import Path

import pytest

from bench.fleet import main
from bench.fleet_worker import KEEP_ALIVE, PERIOD, FleetWorker, Habits, Work
from bench.scenes import STARTS, Scene, Trace, advised_period, in_step, simulate
from bench.virtual import CONNECT_SECONDS, Life, Outage, Service, Sleeper, VirtualClock
from jobfetcher.settings import Settings

ONE_MINUTE = Work(shortest=60, longest=60, transfer=0, inputs=2, outputs=3)


def test_the_defaults_are_those_of_the_settings() -> None:
    """A fleet asks as often as a worker that nobody configured."""
    shipped = Settings(api_url="http://x", access_token="t")

    assert (shipped.timeout_job, shipped.timeout_status) == (PERIOD, KEEP_ALIVE)


def test_idle_workers_only_poll_and_as_often_as_set() -> None:
    """Without jitter each of 10 workers asks once in each period, and nothing else."""
    trace = simulate(Scene("", Habits(period=10, random=in_step), together=True), 10)

    assert {"polls": 10 * 31} == trace.asked
    assert [10] + [0] * 9 + [10] == trace.rates(0, 11)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (59, {"polls": 1, "files": 2, "statuses and keep-alives": 4}),
        (60, {"polls": 2, "files": 7, "statuses and keep-alives": 8}),
    ],
    ids=["running", "ended, and the next one started"],
)
def test_a_job_costs_the_requests_that_it_needs(seconds: float, expected: dict[str, int]) -> None:
    """One poll, four statuses, one request for each file, and keep-alives while the container runs."""
    clock, service = VirtualClock(), Service()
    FleetWorker(clock, service, Habits(ONE_MINUTE, keep_alive=25, random=in_step), busy=False).start(0)

    clock.run(seconds)

    assert expected == {kind: len(moments) for kind, moments in service.asked.items()}


def test_a_resumed_job_is_kept_alive_before_anything_else() -> None:
    """The lease comes first, also in the simulation: one status, and no poll while the job runs."""
    clock, service = VirtualClock(), Service()
    FleetWorker(clock, service, Habits(ONE_MINUTE, random=in_step), busy=True).start(5)

    clock.run(5)

    assert {"statuses and keep-alives": [5.0]} == {kind: list(times) for kind, times in service.asked.items()}


@pytest.mark.parametrize(("silent", "expected"), [(False, [0, 1, 3, 7, 15]), (True, [0, 11])])
def test_an_outage_is_met_with_wider_and_wider_waits(silent: bool, expected: list[float]) -> None:
    """Refused at once, or after a time-out of ten seconds: the waits come on top of that."""
    clock, service = VirtualClock(), Service(Outage(0, 20, silent))
    FleetWorker(clock, service, Habits(random=in_step), busy=False).start(0)

    clock.run(20)

    assert CONNECT_SECONDS == 10
    assert expected == list(service.asked["polls"])[: len(expected)]


def test_jitter_ends_the_step_of_a_common_start() -> None:
    """Without it all ask at once for ever; with it only the first time."""
    in_a_second = [max(simulate(scene, 50).rates(1, 100)) for scene in (STARTS[0], STARTS[2])]

    assert in_a_second[0] < 25
    assert in_a_second[1] == 50


def test_the_same_seed_gives_the_same_requests() -> None:
    """A figure of the page can be had again; whoever else takes chance is not disturbed."""
    random.seed(7)
    expected = random.random()
    random.seed(7)
    scene = Scene("", Habits(Work()), outage=30)
    first, again, other = (simulate(scene, 5, seed).moments for seed in (1, 1, 2))

    assert first == again
    assert first != other
    assert expected == random.random()


def test_a_queue_of_requests_is_waited_for() -> None:
    """Ten at once at two a second: the last answer comes after five seconds."""
    trace = Trace(Scene(""), 10, [0.0] * 10, {})

    assert 5.0 == trace.longest_wait(2)


@pytest.mark.parametrize(
    ("workers", "capacity", "expected"), [(10, 100, 10), (1000, 100, 25), (10_000, 100, 220)]
)
def test_polls_take_half_of_what_the_api_can_take(workers: int, capacity: float, expected: float) -> None:
    """The advice is the default or longer, so that twice the polls still find room."""
    period = advised_period(workers, capacity)

    assert expected == period
    assert workers / (0.95 * period) <= capacity / 2


def test_whoever_is_woken_early_does_not_hear_the_alarm_too() -> None:
    """A sleep ends once."""
    clock = VirtualClock()
    woken: list[float] = []

    def life() -> Life:
        while True:
            woken.append(clock.now)
            yield 10

    sleeper = Sleeper(clock, life())
    sleeper.wake()
    clock.run(3)
    sleeper.wake()
    clock.run(14)

    assert [0, 3, 13] == woken


def test_the_page_gets_its_tables_and_its_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command renews what stands between the comments, and draws the same picture each time."""
    page, drawn = tmp_path / "fleet.md", tmp_path / "fleet.svg"
    names = ("fleet-outages", "fleet-starts", "fleet-advice")
    page.write_text("".join(f"<!-- {name} -->\nold\n<!-- end of {name} -->\n" for name in names))

    assert main(["--workers", "3", "--small", "--write-docs", str(page), "--plot", str(drawn)]) == 0
    first = drawn.read_bytes()
    assert main(["--workers", "3", "--small", "--plot", str(drawn)]) == 0

    assert first == drawn.read_bytes()
    assert "old" not in page.read_text()
    assert page.read_text().count("\n| --- |") == len(names)
