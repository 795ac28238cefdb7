"""Rows about containers: what a job costs beside ``docker run``, and how soon an exit is heard of."""

import queue
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Self

import docker

from bench.measure import Goal, Ground, Row, interleaved, percentile, row, timed, until
from bench.processes import Worker, wall
from jobfetcher.runners.exits import seconds
from mock_api.client import MockControl, MockServer
from tests.images import busybox_image, remove_image

IMAGE = "jobfetcher-bench/busybox:latest"
COMMAND = "true"
QUICK_POLL = {"TIMEOUT_JOB": "0.25"}
"""No row measures the wait for the next poll; the default of 10 s would only make the run longer."""
_SETTLE_SECONDS = 0.5
_PATIENCE_SECONDS = 60


def noop(ground: Ground) -> Iterator[Row]:
    """One job that does nothing, already waiting, beside ``docker run --rm``."""
    for network in ("bridge", "none"):
        with attached(ground.folder / network, NETWORK=network) as (api, _):
            ours, floor = interleaved(
                ground.scale.rounds, partial(jobs, api, 1), partial(docker_run, network)
            )
        name = f"no-op job, GET /jobs to finished, network {network}; docker run --rm"
        yield row(name, "s", ours, floor, Goal(1.05))


def many(ground: Ground) -> Iterator[Row]:
    """Blocks of no-op jobs, one after the other, beside as many ``docker run``."""
    block = ground.scale.block
    with attached(ground.folder, NETWORK="none") as (api, _):
        ours, floors = interleaved(
            ground.scale.rounds, lambda: jobs(api, block), lambda: docker_runs(block, "none")
        )
    name = f"{block * ground.scale.rounds} no-op jobs in blocks of {block}, one at a time; docker run"
    yield row(name, "s/block", ours, floors, Goal(1.05))


def pairs(ground: Ground) -> Iterator[Row]:
    """The same with MAX_JOBS=2, beside two ``docker run`` side by side, as jobs a second."""
    block = ground.scale.block
    with attached(ground.folder, NETWORK="none", MAX_JOBS="2") as (api, _):
        ours, floors = interleaved(
            ground.scale.rounds, lambda: block / jobs(api, block), lambda: block / _side_by_side(block)
        )
    name = (
        f"{block * ground.scale.rounds} no-op jobs in blocks of {block}, MAX_JOBS=2; two docker run at a time"
    )
    yield row(name, "jobs/s", ours, floors, Goal(0.9, least=True))


def _side_by_side(count: int) -> float:
    def work() -> None:
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(docker_run, ["none"] * count))

    return timed(work)


def exit_noticed(ground: Ground) -> Iterator[Row]:
    """From the engine's FinishedAt to the next status at the API, beside a bare listener."""
    ours, floor = [], []
    with attached(ground.folder, NETWORK="bridge") as (api, worker), _Deaths(worker) as deaths:
        jobs(api, 1)
        deaths.next()
        for _ in range(ground.scale.more):
            job = api.submit(image=IMAGE, cmd=["sleep 0.3"])
            _finished(api, job)
            time.sleep(_SETTLE_SECONDS)
            ended, heard = deaths.next()
            ours.append(1000 * (_when(api, job, "postprocessing") - ended))
            floor.append(1000 * (heard - ended))
    name = "FinishedAt to postprocessing at the API"
    yield row(f"{name}; bare die event", "ms", ours, floor, Goal(2))
    yield row(f"{name}, median", "ms", ours, None, Goal(60, "ours"))
    yield row(f"{name}, 95 of 100", "ms", [percentile(ours, 0.95)], None, Goal(120, "ours"))


@contextmanager
def attached(
    folder: Path, engine: str | None = None, image_files: Mapping[str, str] | None = None, **variables: str
) -> Iterator[tuple[MockControl, Worker]]:
    """A mock and a worker, ready.

    ``engine`` is the address of another than the usual one, ``image_files`` are added to the image.
    """
    busybox_image(IMAGE, engine, files=image_files or {})
    folder.mkdir(parents=True, exist_ok=True)
    if engine:
        variables["DOCKER_HOST"] = engine
    try:
        with (
            MockServer(folder / "api") as server,
            Worker(folder / "w", server.url, **QUICK_POLL, **variables) as w,
        ):
            until("the first poll", lambda: any(r.path == "/jobs" for r in server.control.requests()))
            yield server.control, w
            until("the removal of containers", lambda: not _leftovers(w, engine))
    finally:
        remove_image(IMAGE, engine)


def _label(worker: Worker) -> str:
    return f"org.decode.jobfetcher.worker={(worker.base / 'worker-id').read_text().strip()}"


def _leftovers(worker: Worker, engine: str | None) -> str:
    command = [
        "docker",
        *(["--host", engine] if engine else []),
        "ps",
        "-aq",
        "--filter",
        f"label={_label(worker)}",
    ]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def jobs(api: MockControl, count: int) -> float:
    """Seconds from the delivery of the first of so many jobs to the last ``finished``."""
    submitted = [api.submit(image=IMAGE, cmd=[COMMAND]) for _ in range(count)]
    for job in reversed(submitted):
        _finished(api, job)
    time.sleep(_SETTLE_SECONDS)
    return max(_when(api, job, "finished") for job in submitted) - _when(api, submitted[0], "pulled")


def _finished(api: MockControl, job: int) -> None:
    """Wait, asking seldom."""

    def ended() -> bool:
        statuses = api.statuses(job)
        if "error" in statuses:
            raise RuntimeError(f"Job {job} failed: {api.job(job)}")
        return "finished" in statuses

    until(f"the end of job {job}", ended, 300, every=0.2)


def _when(api: MockControl, job: int, what: str) -> float:
    return next(event.time for event in api.timeline(job) if what in (event.kind, event.status))


def docker_run(network: str, engine: str | None = None) -> float:
    """Seconds that the command takes; ``engine`` is another than the usual one."""
    command = ["docker", *(["--host", engine] if engine else []), "run", "--rm", "--network", network]
    return wall(*command, IMAGE, "/bin/sh", "-c", COMMAND)


def docker_runs(count: int, network: str, engine: str | None = None) -> float:
    """Seconds for so many, one after the other."""
    return timed(lambda: [docker_run(network, engine) for _ in range(count)])


class _Deaths:
    """When ``die`` events of a worker's containers come in, bare, and when these had ended."""

    def __init__(self, worker: Worker) -> None:
        self._label = _label(worker)
        self._client = docker.from_env()
        self._ends: queue.Queue[tuple[float, float]] = queue.Queue()

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

    def next(self) -> tuple[float, float]:
        """The next container's FinishedAt, and when its event came."""
        return self._ends.get(timeout=_PATIENCE_SECONDS)

    def _listen(self) -> None:
        for event in self._events:
            came = time.time()
            found = self._client.api.inspect_container(event["id"])  # answered once the network is torn down
            self._ends.put((seconds(found["State"]["FinishedAt"]) or 0.0, came))
