"""Rows about a worker that has nothing to do, and about one that has done much."""

import time
from collections.abc import Iterator

from bench.containers import QUICK_POLL
from bench.measure import MIB, Goal, Ground, Row, row, until
from bench.processes import Worker
from bench.server import FastApi
from mock_api.client import MockControl, MockServer
from mock_api.records import RequestRecord

MB = 1_000_000
_NO_POLLS = {"TIMEOUT_JOB": "100000"}
_WARM_UP_SECONDS = 2.0


def idle(ground: Ground) -> Iterator[Row]:
    """Two workers for a minute: one polls as by default, the other not, to tell what polls cost."""
    seconds = ground.scale.idle_seconds
    with (
        MockServer(ground.folder / "api") as server,
        Worker(ground.folder / "polls", server.url) as polls,
        Worker(ground.folder / "still", server.url, **_NO_POLLS) as still,
    ):
        until("the first polls", lambda: len(_requests(server.control)) >= 2)
        time.sleep(_WARM_UP_SECONDS)
        before, cpu, woken = len(_requests(server.control)), still.cpu_of_threads(), still.wakeups()
        all_before = polls.cpu_of_threads()
        time.sleep(seconds)
        share = 100 * (still.cpu_of_threads() - cpu) / seconds
        all_share = 100 * (polls.cpu_of_threads() - all_before) / seconds
        rate = (still.wakeups() - woken) / seconds
        others = [found for found in _requests(server.control)[before:] if found.path != "/jobs"]
        memory = polls.memory() * MIB / MB
    name = f"idle for {seconds:.0f} s"
    yield row(f"{name}, processor beyond the polls", "%", [share], None, Goal(0.1, "ours"))
    yield row(f"{name}, processor with the polls", "%", [all_share], None, Goal(0.1, "ours"))
    yield row(f"{name}, memory", "MB", [memory], None, Goal(75, "ours"))
    yield row(f"{name}, requests but the polls", "requests", [len(others)], None, Goal(0, "ours"))
    yield row(f"{name}, wake-ups of all threads", "a second", [rate], None, Goal(1, "ours"))


def memory(ground: Ground) -> Iterator[Row]:
    """Resident memory after many jobs beside that after a few; the runner is ``process``."""
    few, many = ground.scale.few, ground.scale.many
    with (
        FastApi() as api,
        Worker(ground.folder / "w", api.url, RUNNER="process", **QUICK_POLL) as worker,
    ):
        settled = _after(api, worker, few)
        later = _after(api, worker, many - few)
    yield row(f"memory after {many:,} jobs; after {few}", "MiB", [later], [settled], Goal(1.05))


def _requests(control: MockControl) -> list[RequestRecord]:
    return control.requests()


def _after(api: FastApi, worker: Worker, jobs: int) -> float:
    last = [api.submit("true") for _ in range(jobs)][-1]
    api.wait("finished", last, 60 + jobs)
    time.sleep(_WARM_UP_SECONDS)
    return worker.memory()
