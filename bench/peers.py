"""Rows about programs for similar work: a no-op job and a few of them, beside ours and ``docker run``.

Each gets a virtual environment of its own in the user's cache folder, made at the first run. All use one
engine that is started for them, since miniwdl makes a swarm of the engine that it finds; that takes root.
"""

import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench.containers import IMAGE, attached, docker_runs, jobs
from bench.measure import Ground, Row, interleaved, row
from bench.processes import wall
from tests.docker.private_engine import PrivateEngine

BASH = {"/bin/bash": '#!/bin/sh\nexec /bin/sh "$@"\n'}
"""miniwdl starts each command with it; busybox has none."""

_TOOL = {
    "class": "CommandLineTool",
    "baseCommand": ["true"],
    "requirements": {"DockerRequirement": {"dockerPull": IMAGE}},
    "outputs": [],
}
ONE_CWL = {"cwlVersion": "v1.2", **_TOOL, "inputs": []}
MANY_CWL = {
    "cwlVersion": "v1.2",
    "class": "Workflow",
    "requirements": {"ScatterFeatureRequirement": {}},
    "inputs": {"numbers": "int[]"},
    "outputs": [],
    "steps": {
        "job": {
            "scatter": "number",
            "in": {"number": "numbers"},
            "out": [],
            "run": {**_TOOL, "inputs": {"number": "int"}},
        }
    },
}
WDL = f"""version 1.0
task job {{
  input {{ Int number }}
  command {{ true }}
  runtime {{ docker: "{IMAGE}" }}
}}
workflow many {{
  input {{ Int jobs }}
  scatter (number in range(jobs)) {{ call job {{ input: number = number }} }}
}}
"""


@dataclass(frozen=True)
class Peer:
    """A program that runs jobs in containers."""

    name: str
    package: str
    """As pip takes it."""
    command: Callable[[int, str], list[str]]
    """The arguments that run so many jobs; the text is a name that was never used."""


def _cwl(count: int) -> list[str]:
    return ["one.cwl"] if count == 1 else ["many.cwl", "many.json"]


PEERS = (
    Peer("cwltool", "cwltool", lambda n, new: ["cwltool", "--disable-pull", "--outdir", new, *_cwl(n)]),
    Peer("miniwdl", "miniwdl", lambda n, new: ["miniwdl", "run", "--dir", new, "jobs.wdl", f"jobs={n}"]),
    Peer(
        "toil",
        "toil[cwl]",
        lambda n, new: [
            *("toil-cwl-runner", "--no-prepull", "--outdir", new, "--jobStore", f"{new}-store"),
            *_cwl(n),
        ],
    ),
)


def peers(ground: Ground) -> Iterator[Row]:
    """All that can be installed; the others without figures, with the reason."""
    if os.geteuid() != 0:
        yield from (_missing(peer, "an engine of their own needs root") for peer in PEERS)
        return
    there: list[Peer] = []
    for peer in PEERS:
        try:
            install(peer)
            there.append(peer)
        except subprocess.CalledProcessError as error:
            yield _missing(peer, _last_line(error.stderr))
    yield from elsewhere()
    with PrivateEngine("--storage-driver=overlay2") as engine:
        few, rounds = ground.scale.peer_jobs, ground.scale.rounds
        yield from _compared(ground, engine.base_url, there, 1, rounds, "no-op job")
        yield from _compared(ground, engine.base_url, there, few, max(1, rounds // 2), f"{few} no-op jobs")


def _compared(
    ground: Ground, engine: str, there: Sequence[Peer], count: int, rounds: int, what: str
) -> Iterator[Row]:
    folder = ground.folder / str(count)
    with attached(folder, engine, BASH, NETWORK="none") as (api, _):
        for name, document in documents(count).items():
            (folder / name).write_text(document)
        ours, floor, *theirs = interleaved(
            rounds,
            lambda: jobs(api, count),
            partial(docker_runs, count, "none", engine),
            *(partial(_run, peer, count, folder, engine) for peer in there),
        )
    yield row(f"{what}: jobfetcher; docker run --rm, network none", "s", ours, floor, None)
    for peer, samples in zip(there, theirs, strict=True):
        name = f"{what}: {peer.name} {_version(peer)}, a peer; docker run --rm, network none"
        yield row(name, "s", samples, floor, None)


def documents(count: int) -> dict[str, str]:
    """The files that describe so many jobs, by name."""
    cwl = {"one.cwl": ONE_CWL, "many.cwl": MANY_CWL, "many.json": {"numbers": list(range(count))}}
    return {"jobs.wdl": WDL, **{name: json.dumps(document) for name, document in cwl.items()}}


_numbers = itertools.count()


def _run(peer: Peer, count: int, folder: Path, engine: str) -> float:
    there = home(peer) / "bin"
    environ = {**os.environ, "DOCKER_HOST": engine, "PATH": f"{there}:{os.environ['PATH']}"}
    program, *arguments = peer.command(count, str(folder / f"new-{next(_numbers)}"))
    return wall(there / program, *arguments, cwd=folder, env=environ)


def home(peer: Peer) -> Path:
    """Its virtual environment."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "jobfetcher-bench" / peer.name


def install(peer: Peer) -> None:
    """Make its environment, if there is none. Raises ``CalledProcessError``; then nothing is left of it."""
    if (home(peer) / "complete").exists():
        return
    folder = home(peer)
    shutil.rmtree(folder, ignore_errors=True)
    try:
        wall(sys.executable, "-m", "venv", folder)
        wall(folder / "bin" / "pip", "install", "-q", peer.package)
        (folder / "complete").touch()
    except subprocess.CalledProcessError:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _version(peer: Peer) -> str:
    asked = f"from importlib.metadata import version; print(version({peer.name!r}))"
    python = home(peer) / "bin" / "python"
    return subprocess.run([python, "-c", asked], check=True, capture_output=True, text=True).stdout.strip()


def _last_line(said: bytes) -> str:
    lines = said.decode(errors="replace").strip().splitlines()
    return lines[-1][:120] if lines else "no reason was given"


def _missing(peer: Peer, why: str) -> Row:
    return Row(f"{peer.name}, a peer: not measured ({why})", None, None, None, "-", None, "s")


ELSEWHERE = (
    ("no-op job, TIMEOUT=1", "s", 2.8),
    ("no-op job, TIMEOUT=10", "s", 22),
    ("no-op job, TIMEOUT=30", "s", 79),
    ("1 GiB in and out (15 to 27 s)", "s", 21),
    ("memory with 1 GiB in and out", "MiB", 2.1 * 1024),
    ("2,000 + 2,000 small files in and out (19 to 38 s)", "s", 28.5),
    ("memory when idle", "MiB", 63),
)
"""The existing worker against the real service on another machine; of a range the middle."""


def elsewhere() -> Iterator[Row]:
    """Its figures as rows. They have no floor: none was measured beside them."""
    for name, unit, figure in ELSEWHERE:
        yield Row(f"{name}: the existing worker, measured elsewhere", figure, None, None, "-", None, unit)
