"""Metrics for Prometheus. Everything is read when it is asked for; nothing is kept up to date meanwhile."""

import bisect
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Metric, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from jobfetcher.status.health import Disk, Status, ready, works
from jobfetcher.status.traffic import Traffic
from persistence.overview import Overview, Stay
from states.table import LIVE, TABLE

KIND = CONTENT_TYPE_PLAIN_0_0_4
BUCKETS = (0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 12 * 3600, 24 * 3600, 7 * 24 * 3600)
"""Seconds: a job's phase lasts from a moment to a week."""

Families = Iterator[Metric]


@dataclass
class _Histogram:
    counts: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))
    total: float = 0.0

    def add(self, seconds: float) -> None:
        self.counts[bisect.bisect_left(BUCKETS, seconds)] += 1
        self.total += seconds

    def buckets(self) -> list[tuple[str, float]]:
        """Each bound with how many were at most that."""
        names = [*(str(float(bound)) for bound in BUCKETS), "+Inf"]
        sums = [sum(self.counts[: at + 1]) for at in range(len(self.counts))]
        return list(zip(names, map(float, sums), strict=True))


class _History:
    """What all moves in the database come to; at each look only the new ones are read."""

    def __init__(self) -> None:
        self._last = 0
        self.phases = {state: _Histogram() for state in TABLE if state in LIVE}
        self.lost = 0
        self.reruns = 0

    def catch_up(self, overview: Overview) -> None:
        for stay in overview.stays(after=self._last):
            self._add(stay)

    def _add(self, stay: Stay) -> None:
        self._last = stay.id
        if histogram := self.phases.get(stay.state):  # type: ignore[call-overload]  # a StrEnum's key is its text
            histogram.add(max(0.0, stay.seconds))
        if stay.because == "lost":
            self.lost += 1
            self.reruns += stay.target in LIVE


class WorkerMetrics(Collector):
    """``status``, ``disk`` and ``overview`` are asked at each scrape, ``moved`` for bytes by phase."""

    def __init__(
        self,
        status: Callable[[], Status],
        disk: Callable[[], Disk],
        overview: Callable[[], Overview],
        moved: Callable[[], Mapping[str, int]],
        traffic: Traffic,
    ) -> None:
        self._status = status
        self._disk = disk
        self._overview = overview
        self._moved = moved
        self._traffic = traffic
        self._history = _History()
        self._engine_good_at: float | None = None
        self._one_at_a_time = threading.Lock()

    def collect(self) -> Iterable[Metric]:
        with self._one_at_a_time:
            status, disk = self._status(), self._disk()
            with self._overview() as overview:
                self._history.catch_up(overview)
                found = [*self._jobs(overview, status["at"])]
            found += [*self._phases(), *self._work(), *self._worker(status), *self._verdicts(status, disk)]
            return [*found, *self._answers(status), *_disk(disk)]

    def _jobs(self, overview: Overview, now: float) -> Families:
        jobs = GaugeMetricFamily("jobfetcher_jobs", "Jobs in the database, by state.", labels=["state"])
        counts = overview.counts()
        for state in TABLE:
            jobs.add_metric([str(state)], counts.get(state, 0))
        yield jobs
        unsent, since = overview.oldest_unsent()
        yield _gauge("unsent_updates", "Status updates that the API has yet to hear.", unsent)
        age = 0.0 if since is None else max(0.0, now - since)
        yield _gauge("oldest_unsent_update_age_seconds", "How long the oldest of them has waited.", age)

    def _phases(self) -> Families:
        yield _counter("runs_lost", "Containers that vanished or died with their engine.", self._history.lost)
        yield _counter("reruns", "Containers that were run again for that.", self._history.reruns)
        durations = HistogramMetricFamily(
            "jobfetcher_phase_duration_seconds", "How long jobs stayed in a state.", labels=["state"]
        )
        for state, histogram in self._history.phases.items():
            durations.add_metric([str(state)], histogram.buckets(), histogram.total)
        yield durations

    def _work(self) -> Families:
        requests = CounterMetricFamily(
            "jobfetcher_api_requests", "Requests to the API that have ended.", labels=["call", "outcome"]
        )
        for (call, outcome), count in sorted(self._traffic.ended().items()):
            requests.add_metric([call, outcome], count)
        yield requests
        moved = CounterMetricFamily(
            "jobfetcher_transferred_bytes", "Bytes that were moved for jobs.", labels=["phase"]
        )
        for phase, count in sorted(self._moved().items()):
            moved.add_metric([phase], count)
        yield moved

    def _worker(self, status: Status) -> Families:
        labels = {name: str(status[name]) for name in ("version", "worker", "runner")}
        yield InfoMetricFamily("jobfetcher_build", "Which worker this is.", labels)
        yield _gauge("start_time_seconds", "When the worker was started.", status["started_at"])
        yield _gauge("draining", "1 while no new jobs are taken.", status["draining"])
        yield _gauge("places", "Jobs that may be at work at once.", status["places"])
        used = min(len(status["jobs"]), status["places"])
        yield _gauge("places_used", "Jobs that are at work.", used)
        gpus = len(status["hardware"]["gpus"])
        yield _gauge("gpus", "GPUs of this machine.", gpus)

    def _verdicts(self, status: Status, disk: Disk) -> Families:
        yield _gauge("healthy", "1 while all is well (/healthz).", works(status, disk).ok)
        yield _gauge("ready", "1 while it could take a job on (/readyz).", ready(status, disk).ok)

    def _answers(self, status: Status) -> Families:
        if status["engine"]["ok"]:
            self._engine_good_at = status["engine"]["at"]
        for name, at in (("api", self._traffic.good_at), ("engine", self._engine_good_at)):
            if at is not None:
                age = max(0.0, status["at"] - at)
                yield _gauge(f"{name}_last_answer_age_seconds", "Time since its last good answer.", age)


def _disk(disk: Disk) -> Families:
    yield _gauge("disk_free_bytes", "Free space where jobs' files lie.", disk.free)
    yield _gauge("disk_least_free_bytes", "What must stay free (MIN_FREE_DISK).", disk.least)


def _gauge(name: str, meaning: str, value: float) -> Metric:
    return GaugeMetricFamily(f"jobfetcher_{name}", meaning, value=float(value))


def _counter(name: str, meaning: str, value: float) -> Metric:
    return CounterMetricFamily(f"jobfetcher_{name}", meaning, value=float(value))


class Exposition:
    """The text that Prometheus reads: a collector's, and the process's memory, CPU and descriptors."""

    def __init__(self, collector: Collector) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(collector)
        ProcessCollector(registry=self._registry)

    def text(self) -> bytes:
        return generate_latest(self._registry)
