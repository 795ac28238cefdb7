"""Rows about how soon something starts: commands that look, an import, and a worker after a SIGKILL."""

import sys
import time
from collections.abc import Iterator

from bench import ledger
from bench.measure import Goal, Ground, Row, interleaved, row
from bench.processes import SCRIPT, Worker, wall
from bench.server import FastApi

_CLOUD = "from jobfetcher import ApiClient, JobSpec, download_inputs, upload_outputs"
_WORKER = "import jobfetcher.app, jobfetcher.runners.process"


def commands(ground: Ground) -> Iterator[Row]:
    """The commands beside a bare Python, each a process of its own."""
    base = ledger.make(ground.folder / "w", 0, ground.scale.ended)
    jobs, version, listed, bare, cloud, peers = interleaved(
        ground.scale.more,
        lambda: wall(SCRIPT, "jobs", "--path-base", base),
        lambda: wall(SCRIPT, "--version"),
        lambda: wall(SCRIPT, "--help"),
        lambda: wall(sys.executable, "-c", "pass"),
        lambda: wall(sys.executable, "-c", _CLOUD),
        lambda: wall(sys.executable, "-c", "import requests, pydantic"),
    )
    name = f"jobfetcher jobs, {ground.scale.ended:,} ended jobs; python -c pass"
    yield row(name, "s", jobs, bare, Goal(10))
    yield row("jobfetcher --version; python -c pass", "s", version, bare, Goal(7))
    yield row("jobfetcher --help; python -c pass", "s", listed, bare, Goal(7))
    yield row("import for cloud functions; import requests, pydantic", "s", cloud, peers, Goal(1.1))


def restart(ground: Ground) -> Iterator[Row]:
    """From the start of a worker that was killed to its first status."""
    ended = ground.scale.ended
    with FastApi() as api:
        full = Worker(ledger.make(ground.folder / "full", 100, ended), api.url, RUNNER="process")
        empty = Worker(ledger.make(ground.folder / "empty", 100, 0), api.url, RUNNER="process")
        ours, none, bare = interleaved(
            ground.scale.rounds,
            lambda: _to_first_status(api, full),
            lambda: _to_first_status(api, empty),
            lambda: wall(sys.executable, "-c", _WORKER),
        )
    name = f"restart with 100 live and {ended:,} ended jobs to the first status"
    yield row(f"{name}; none ended", "s", ours, none, Goal(1.15))
    yield row(f"{name}; bare start with the same imports", "s", ours, bare, Goal(1.3))


def _to_first_status(api: FastApi, worker: Worker) -> float:
    api.forget()
    began = time.monotonic()
    with worker:
        return api.wait("preprocessing") - began
