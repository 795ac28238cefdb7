"""Rows about containers: what a job costs beside ``docker run``, and how soon an exit is heard of."""

import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Self

import docker

from bench.measure import Goal, Ground, Row, interleaved, percentile, row, timed, until
from bench.processes import Worker
from mock_api.client import MockControl, MockServer
from persistence.reader import open_reader
from tests.images import busybox_image, remove_image

IMAGE = "jobfetcher-bench/busybox:latest"
COMMAND = "true"
QUICK_POLL = {"TIMEOUT_JOB": "0.25"}
"""No row measures the wait for the next poll; the default of 10 s would only make the run longer."""
_SETTLE_SECONDS = 0.5


def noop(ground: Ground) -> Iterator[Row]:
    """One job that does nothing, already waiting, beside ``docker run --rm``."""
    for network in ("bridge", "none"):
        with _attached(ground.folder / network, NETWORK=network) as (api, _):
            ours, floor = interleaved(
                ground.scale.rounds, partial(_one_job, api), partial(_docker_run, network)
            )
        name = f"no-op job, GET /jobs to finished, network {network}; docker run --rm"
        yield row(name, "s", ours, floor, Goal(1.05))


def many(ground: Ground) -> Iterator[Row]:
    """Blocks of no-op jobs, one after the other, beside as many ``docker run``."""
    block = ground.scale.block

    def floor() -> float:
        return timed(lambda: [_docker_run("none") for _ in range(block)])

    with _attached(ground.folder, NETWORK="none") as (api, _):
        ours, floors = interleaved(ground.scale.rounds, lambda: _block(api, block), floor)
    total = block * ground.scale.rounds
    yield row(
        f"{total} no-op jobs in blocks of {block}, one at a time; docker run",
        "s/block",
        ours,
        floors,
        Goal(1.05),
    )


def exit_noticed(ground: Ground) -> Iterator[Row]:
    """From the engine's FinishedAt to the next status at the API, beside a bare listener."""
    ours, floor = [], []
    with _attached(ground.folder, NETWORK="bridge") as (api, worker), _Deaths(worker) as deaths:
        _one_job(api)
        for _ in range(ground.scale.more):
            job = api.submit(image=IMAGE, cmd=["sleep 0.3"])
            _finished(api, job)
            ended = _finished_at(worker, job)
            ours.append(1000 * (_when(api, job, "postprocessing") - ended))
            floor.append(1000 * (deaths.after(ended) - ended))
    name = "FinishedAt to postprocessing at the API"
    yield row(f"{name}; bare die event", "ms", ours, floor, Goal(2))
    yield row(f"{name}, median", "ms", ours, None, Goal(60, "ours"))
    yield row(f"{name}, 95 of 100", "ms", [percentile(ours, 0.95)], None, Goal(120, "ours"))


@contextmanager
def _attached(folder: Path, **variables: str) -> Iterator[tuple[MockControl, Worker]]:
    """A mock and a worker with the engine's default settings, ready."""
    busybox_image(IMAGE)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with (
            MockServer(folder / "api") as server,
            Worker(folder / "w", server.url, **QUICK_POLL, **variables) as w,
        ):
            until("the first poll", lambda: any(r.path == "/jobs" for r in server.control.requests()))
            yield server.control, w
            until("the removal of containers", lambda: not _leftovers(w))
    finally:
        remove_image(IMAGE)


def _label(worker: Worker) -> str:
    return f"org.decode.jobfetcher.worker={(worker.base / 'worker-id').read_text().strip()}"


def _leftovers(worker: Worker) -> str:
    command = ["docker", "ps", "-aq", "--filter", f"label={_label(worker)}"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _one_job(api: MockControl) -> float:
    job = api.submit(image=IMAGE, cmd=[COMMAND])
    _finished(api, job)
    return _when(api, job, "finished") - _when(api, job, "pulled")


def _block(api: MockControl, size: int) -> float:
    jobs = [api.submit(image=IMAGE, cmd=[COMMAND]) for _ in range(size)]
    _finished(api, jobs[-1])
    return _when(api, jobs[-1], "finished") - _when(api, jobs[0], "pulled")


def _finished(api: MockControl, job: int) -> None:
    """Wait, asking seldom, and leave the worker time to remove what is left."""

    def ended() -> bool:
        statuses = api.statuses(job)
        if "error" in statuses:
            raise RuntimeError(f"Job {job} failed: {api.job(job)}")
        return "finished" in statuses

    until(f"the end of job {job}", ended, 300, every=0.2)
    time.sleep(_SETTLE_SECONDS)


def _when(api: MockControl, job: int, what: str) -> float:
    return next(event.time for event in api.timeline(job) if what in (event.kind, event.status))


def _docker_run(network: str) -> float:
    command = ["docker", "run", "--rm", "--network", network, IMAGE, "/bin/sh", "-c", COMMAND]
    return timed(lambda: subprocess.run(command, check=True, capture_output=True))


def _finished_at(worker: Worker, job: int) -> float:
    with open_reader(worker.base / "jobfetcher.db") as reader:
        return float(reader.job(str(job))[0].facts["exit"]["finished_at"])


class _Deaths:
    """When ``die`` events of a worker's containers come in, bare."""

    def __init__(self, worker: Worker) -> None:
        self._label = _label(worker)
        self._client = docker.from_env()
        self._came: list[float] = []

    def __enter__(self) -> Self:
        wanted = {"type": "container", "event": "die", "label": self._label}
        self._events: Any = self._client.events(filters=wanted, decode=True)
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._events.close()
        self._thread.join()
        self._client.close()

    def after(self, moment: float) -> float:
        return next(came for came in self._came if came >= moment)

    def _listen(self) -> None:
        for _ in self._events:
            self._came.append(time.time())  # each is to be seen at once
