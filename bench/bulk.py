"""Rows about one large file, beside curl with the same server. The worker's runner is ``process``."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from bench.containers import QUICK_POLL
from bench.measure import MIB, Goal, Ground, Row, interleaved, row
from bench.processes import Cost, Worker, cost
from bench.server import FastApi

CUT = 0.7
NAME = "big.bin"


@dataclass
class _Samples:
    """What was measured beside the time on the clock."""

    cpu: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)


def down(ground: Ground) -> Iterator[Row]:
    """One file down: time, processor, memory; and with SHA-256, which ours always computes."""
    size = ground.scale.bulk
    with _attached(ground) as (api, worker, source):
        ours, curl = _Samples(), _Samples()

        def theirs() -> float:
            target = ground.folder / "curl.bin"
            spent = cost(["curl", "-sf", "-o", target, f"{api.url}/raw/{NAME}"])
            target.unlink()
            return _kept(curl, spent)

        walls, floors, sums = interleaved(
            ground.scale.rounds,
            lambda: _download(api, worker, ours),
            theirs,
            lambda: cost(["sha256sum", source]).wall,
        )
    name = f"{size // MIB} MiB down"
    slower = max(floors, sums, key=median)
    yield row(f"{name}, durable and with SHA-256; curl -o", "s", walls, floors, Goal(0.8))
    yield row(
        f"{name}, durable and with SHA-256; slower of curl and sha256sum", "s", walls, slower, Goal(1.15)
    )
    yield row(f"{name}, processor time; curl -o", "s", ours.cpu, curl.cpu, Goal(0.8))
    yield row(f"{name}, memory over idle", "MiB", ours.memory, None, Goal(16, "ours"))


def up(ground: Ground) -> Iterator[Row]:
    """One file up: time, processor, memory."""
    size = ground.scale.bulk
    with _attached(ground) as (api, worker, source):
        ours, curl = _Samples(), _Samples()
        url = f"{api.url}/jobs/0/files/upload"
        walls, floors = interleaved(
            ground.scale.rounds,
            lambda: _upload(api, worker, size, ours),
            lambda: _kept(curl, cost(["curl", "-sf", "-F", f"file=@{source}", url])),
        )
    yield row(f"{size // MIB} MiB up, multipart; curl -F", "s", walls, floors, Goal(1.05))
    yield row(f"{size // MIB} MiB up, processor time; curl -F", "s", ours.cpu, curl.cpu, Goal(1.05))
    yield row(f"{size // MIB} MiB up, memory over idle", "MiB", ours.memory, None, Goal(16, "ours"))


def broken(ground: Ground) -> Iterator[Row]:
    """A download that is cut off: the share of its bytes that moves after that."""
    size = ground.scale.bulk
    shares = []
    with _attached(ground) as (api, worker, _):
        for _ in range(max(1, ground.scale.more // 3)):
            api.sent.clear()
            api.cut_at = int(CUT * size)
            _download(api, worker, _Samples())
            shares.append(sum(api.sent[1:]) / MIB)
    name = f"{size // MIB} MiB down, cut off at 70 %: moved after the cut; the whole file again"
    yield row(name, "MiB", shares, [size / MIB], Goal(0.35))


@contextmanager
def _attached(ground: Ground) -> Iterator[tuple[FastApi, Worker, Path]]:
    """A server with the large file, and a worker that has done one job."""
    source = ground.folder / NAME
    with source.open("wb") as file:
        for _ in range(ground.scale.bulk // MIB):
            file.write(bytes(MIB))
    with (
        FastApi({NAME: source}) as api,
        Worker(ground.folder / "w", api.url, RUNNER="process", **QUICK_POLL) as worker,
    ):
        api.wait("finished", api.submit("true"))
        yield api, worker, source


def _kept(samples: _Samples, spent: Cost) -> float:
    samples.cpu.append(spent.cpu)
    return spent.wall


def _download(api: FastApi, worker: Worker, samples: _Samples) -> float:
    """Seconds from the question for the file's request to the next status."""
    api.forget()
    idle, cpu = _at_rest(worker)
    job = api.submit("true", files_down={NAME: NAME})
    ended = api.wait("running", job)
    _note(worker, samples, idle, cpu)
    began = api.wait("asked")
    api.wait("finished", job)
    return ended - began


def _upload(api: FastApi, worker: Worker, size: int, samples: _Samples) -> float:
    """Seconds from the question for the folder's request to the answer to the large file."""
    job = api.submit(f"head -c {size} /dev/zero > /files/out/{NAME}", files_up={"output": "out"})
    api.wait("running", job)
    api.forget()
    idle, cpu = _at_rest(worker)
    began, ended = api.wait("asked"), api.wait("taken", job)
    _note(worker, samples, idle, cpu)
    api.wait("finished", job)
    return ended - began


def _at_rest(worker: Worker) -> tuple[float, float]:
    worker.forget_peak()
    return worker.memory(), worker.cpu()


def _note(worker: Worker, samples: _Samples, idle: float, cpu: float) -> None:
    samples.memory.append(worker.peak() - idle)
    samples.cpu.append(worker.cpu() - cpu)
