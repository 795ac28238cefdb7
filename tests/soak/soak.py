"""The soak itself: faults for some minutes, then quiet, then the verdict."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mock_api.client import MockServer
from mock_api.records import Event
from persistence.reader import open_reader
from tests.soak.actors import drawn
from tests.soak.ground import Ground, StartMarks, ground
from tests.soak.jobs import quick
from tests.soak.judge import Evidence, judged, judged_rows
from tests.soak.lives import Life, Lives, Sample
from tests.soak.machine import judged_machine
from tests.soak.operating import Operating
from tests.soak.orders import ACCOUNT, judged_answers, judged_cancels, judged_drains, read_orders
from tests.soak.report import Report
from tests.soak.user import User, unfinished
from tests.soak.watching import Visitor, present
from tests.soak.weather import Weather
from tests.worker_process import WorkerProcess

LEASE_SECONDS = "8"
"""Silence that ends a lease: short, so that the service takes jobs back now and then."""
SERVICE = ("--timeout-failure", LEASE_SECONDS, "--scan-period", "1", "--no-retry-different")
LEAST_KILLS = 4
AT_MOST = 4
"""How many times as long as it should a storm may last that has not come to so many kills."""
SETTLE_SECONDS = 300.0
PRUNED_SECONDS = 10.0
CALM_JOBS = 24
"""Jobs that the last worker does in peace, to see whether it grows."""
MORE_MIB = 8
MORE_DESCRIPTORS = 4
MORE_THREADS = 3
"""How much the last worker may grow over the second half of them."""
BUGS = (
    *("job.stumbled", "fetch.stumbled", "sweep.failed", "thread-died", "pull.bug", "request.stumbled"),
    *("errand.stumbled", "job.not-begun-anew", "stop.callback-failed", "doctor.stumbled", "Traceback"),
)
SEVERAL = 3
"""Jobs at work at once in half of the soaks."""


@dataclass(frozen=True)
class Options:
    """What is asked for. It ends after ``minutes``, or ``kills`` deaths if that is sooner.

    ``jobs`` are at work at once; None: what the seed says.
    """

    seed: int
    minutes: float
    runner: str
    folder: Path
    kills: int | None = None
    jobs: int | None = None


def soak(options: Options) -> Report:
    """Run a soak in an empty folder and return its report."""
    with (
        MockServer(options.folder / "api", *SERVICE, "--max-retries", "1000000") as mock,
        ground(options.runner, options.seed) as place,
    ):
        return _Soak(options, mock, place).run()


class _Soak:
    def __init__(self, options: Options, mock: MockServer, place: Ground) -> None:
        self._options = options
        self._mock = mock
        self._place = place
        self._base = options.folder / "worker"
        self._jobs = options.jobs or drawn(options.seed, "jobs at once").choice((1, SEVERAL))
        variables = {"TIMEOUT_STATUS": "1", "LOG_LEVEL": "INFO", "STOP_GRACE": "1", "LOG_FORMAT": "json"}
        self._worker = WorkerProcess(
            self._base, mock.url, MAX_JOBS=str(self._jobs), **variables, **place.variables
        )
        login = {
            "ACCESS_TOKEN": "",
            "USERNAME": ACCOUNT,
            "PASSWORD": "mock-password",
            "COGNITO_URL": f"{mock.url}/cognito",
        }
        self._lives = Lives(self._worker, options.runner, options.seed, login)
        self._user = User(mock.control, options.seed, place.image)
        self._weather = Weather(mock.control, options.seed)
        self._marks = StartMarks(self._base)
        self._watch = place.watch(self._base)
        self._operating = Operating(self._base, options.seed)
        self._visitor = Visitor(self._worker.log, options.seed)
        self._report = Report(options.seed, options.runner, self._jobs)

    def run(self) -> Report:
        onlookers = (self._marks, self._watch, self._visitor)
        try:
            for onlooker in onlookers:
                onlooker.start()
            self._storm()
            self._calm_down()
            self._look_at_growth()
            self._judge()
        finally:
            self._lives.finish()
            for onlooker in onlookers:
                onlooker.finish()
        return self._report

    def _storm(self) -> None:
        """Lives and deaths while the API and the engine fail."""
        quakes = [self._place.quakes] if self._place.quakes else []
        actors = [self._user, self._weather, self._operating, *quakes]
        began = time.monotonic()
        for actor in actors:
            actor.start()
        while not self._over(time.monotonic() - began):
            life = self._lives.one()
            if life.how == "stopped" and not life.by_itself and life.code not in (0, -15):
                self._report.problems.append(f"life {life.number}: SIGTERM ended it with {life.code}")
            if not all(actor.is_alive() for actor in actors):
                break
        self._report.minutes = (time.monotonic() - began) / 60
        for actor in actors:
            actor.finish()
        self._operating.resume()
        self._report.faults = self._weather.clear_up()

    def _over(self, seconds: float) -> bool:
        """Whether the storm has lasted long enough: on a busy machine a few lives may take all the time."""
        asked, kills = self._options.minutes * 60, self._lives.kills
        if self._options.kills is not None and kills >= self._options.kills:
            return True
        return seconds >= asked * (1 if kills >= LEAST_KILLS else AT_MOST)

    def _calm_down(self) -> None:
        """One worker, no faults: everything must come to its end."""
        began = time.monotonic()
        self._lives.last()
        if not _comes_true(self._nothing_open, SETTLE_SECONDS):
            left = [view.id for view in unfinished(self._mock.control.jobs())]
            self._report.problems.append(f"after {SETTLE_SECONDS:.0f} s these jobs had not ended: {left}")
        _comes_true(self._all_answered, SETTLE_SECONDS)
        self._report.settled = time.monotonic() - began

    def _nothing_open(self) -> bool:
        return not unfinished(self._mock.control.jobs())

    def _look_at_growth(self) -> None:
        """The last worker does more jobs, and must be no bigger after them than half-way."""
        draw = drawn(self._options.seed, "calm jobs")
        sizes = []
        for _ in range(2):
            for _ in range(CALM_JOBS // 2):
                self._user.submit(quick(len(self._user.submitted) + 1, draw))
            _comes_true(self._nothing_open, SETTLE_SECONDS)
            self._clear_away()
            time.sleep(2)  # for two samples
            sizes.append(self._lives.lives[-1].samples[-1])
        if _grew(*sizes):
            self._report.problems.append(f"the last worker grew: {sizes[0]} -> {sizes[1]}")

    def _clear_away(self) -> None:
        """What KEEP_JOBS keeps goes when the operator says so; else what is left goes by itself."""
        if self._lives.lives[-1].keeps:
            if not present(self._base, "jobs/*"):
                self._report.problems.append("the last life kept no folder")
            _comes_true(self._pruned, SETTLE_SECONDS)
        _comes_true(self._nothing_left, SETTLE_SECONDS)
        _comes_true(self._all_answered, SETTLE_SECONDS)

    def _pruned(self) -> bool:
        """Asked again, for the worker may be just about to note that the last end was reported."""
        self._operating.ask("prune")
        return _comes_true(self._nothing_left, PRUNED_SECONDS)

    def _all_answered(self) -> bool:
        return not self._operating.unanswered()

    def _nothing_left(self) -> bool:
        return not self._leftovers()

    def _leftovers(self) -> list[str]:
        parts = ("jobs/*", "runs/*", "**/*.part")
        return [str(path) for part in parts for path in present(self._base, part)] + self._place.leftovers()

    def _judge(self) -> None:
        report, events = self._report, self._mock.control.timeline()
        self._check_end()
        orders = read_orders(self._operating, self._base / "jobfetcher.db")
        with open_reader(self._base / "jobfetcher.db") as reader:
            rows = reader.jobs()
            report.problems += judged_rows(reader) + judged_answers(orders, reader)
            report.problems += judged_cancels(
                orders, reader, self._user.submitted, events, self._place.started
            )
        report.problems += judged_drains(orders, self._lives.lives, events)
        report.problems += judged_machine(self._watch, rows, self._jobs)
        deaths = [life.ended for life in self._lives.lives if life.killed]
        robbed = self._place.quakes.robbed if self._place.quakes else set()
        verdict = judged(Evidence(self._mock.control, self._user.submitted, deaths, rows, robbed, orders))
        report.problems += verdict.problems
        report.outcomes, report.reasons, report.excused = verdict.outcomes, verdict.reasons, verdict.excused
        report.asked, report.refused = orders.counts, orders.refused
        self._count(events)
        report.problems += self._started_twice()

    def _check_end(self) -> None:
        code = self._lives.stop()
        if code != 0:
            self._report.problems.append(f"the last worker ended with {code}")
        self._report.problems += [f"left behind: {one}" for one in self._leftovers()]
        self._report.problems += [f"logged: {line[:1500]}" for line in self._bugs_logged()]

    def _bugs_logged(self) -> list[str]:
        lines = self._worker.log.read_text(errors="replace").splitlines()
        return [line for line in lines if any(bug in line for bug in BUGS)]

    def _count(self, events: list[Event]) -> None:
        report = self._report
        report.lives, report.points = self._lives.lives, len(self._lives.points)
        report.at_once, report.looks = len(self._watch.most), self._watch.looks
        report.limited = len(self._watch.limits)
        report.pages = self._visitor.answers
        report.jobs = len(self._user.submitted)
        report.taken = self._user.taken
        report.requeued = sum(event.kind == "requeued" for event in events)
        if self._place.quakes:
            report.restarts = self._place.quakes.restarts
            report.robberies = len(self._place.quakes.robbed)
        report.starts = sum(self._place.starts.values()) or len(self._marks.marks)
        report.recoveries = [gap for life in report.lives if (gap := recovery(life, events)) is not None]

    def _started_twice(self) -> list[str]:
        counted = {**self._place.starts, **self._marks.marks}
        return [f"started {times} times: {run}" for run, times in counted.items() if times > 1]


def _grew(was: Sample, now: Sample) -> bool:
    return (
        now.resident > was.resident + MORE_MIB
        or now.descriptors > was.descriptors + MORE_DESCRIPTORS
        or now.threads > was.threads + MORE_THREADS
    )


def recovery(life: Life, events: list[Event]) -> float | None:
    """Seconds from the start of a life to the first status that was acknowledged for a job it found."""
    end = life.ended or float("inf")
    own = (event for event in events if event.account == ACCOUNT and str(event.id) in life.live)
    acknowledged = (event.time for event in own if event.kind == "status" and event.acknowledged)
    return next((time - life.began for time in acknowledged if life.began < time < end), None)


def _comes_true(true: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.3)
    return True
