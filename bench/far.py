"""Rows about a long link: many files, one connection of which falls silent; and one large file.

The runner is ``process``.
"""

from collections.abc import Iterator

from bench.containers import QUICK_POLL
from bench.link import DELAY, WINDOW, Link, Stall
from bench.measure import MIB, Goal, Ground, Row, row
from bench.processes import Worker, wall
from bench.server import FastApi

SPEED = f"{1000 * DELAY:.0f} ms away, {WINDOW / DELAY / MIB:.0f} MiB/s for each connection"
STALL_AFTER = 0.35
"""The share of its file that the silent connection has carried."""


def link(ground: Ground) -> Iterator[Row]:
    """All files beside one connection at a time, which is ten times one file and meets no silence."""
    size, count = ground.scale.far, ground.scale.far_files
    source = ground.folder / "far.bin"
    source.write_bytes(bytes(size))
    names = [f"far{number}" for number in range(count)]
    ours, silences, floor = [], [], []
    with (
        FastApi(dict.fromkeys(names, source)) as api,
        Link(api.url) as far,
        Worker(ground.folder / "w", far.url, RUNNER="process", **QUICK_POLL) as worker,
    ):
        api.seen_at = far.url
        api.wait("finished", api.submit("true"))
        for _ in range(ground.scale.rounds):
            far.stall = None
            floor.append(count * wall("curl", "-sf", "-o", "/dev/null", f"{far.url}/raw/{names[0]}"))
            far.stall = Stall(int(STALL_AFTER * size), ground.scale.stall_seconds)
            ours.append(_download(api, names))
            silences.append(_silence(api, far.stall))
        assert worker.memory() > 0
    what = f"{count} files of {size // MIB} MiB, {SPEED}, one falls silent"
    yield row(f"{what}; one at a time, none silent", "s", ours, floor, Goal(1 / 3))
    yield row(f"{what}: silence until the file goes on", "s", silences, None, Goal(30, "ours"))


def large(ground: Ground) -> Iterator[Row]:
    """One file that may come over several connections beside one connection."""
    size = ground.scale.far_one
    source = ground.folder / "large.bin"
    source.write_bytes(bytes(size))
    ours, floor = [], []
    with (
        FastApi({"large": source}) as api,
        Link(api.url) as far,
        Worker(ground.folder / "w", far.url, RUNNER="process", **QUICK_POLL) as worker,
    ):
        api.seen_at = far.url
        api.wait("finished", api.submit("true"))
        for _ in range(ground.scale.rounds):
            floor.append(wall("curl", "-sf", "-o", "/dev/null", f"{far.url}/raw/large"))
            ours.append(_download(api, ["large"]))
        assert worker.memory() > 0
    what = f"one file of {size // MIB} MiB, {SPEED}"
    yield row(f"{what}: all connections; one connection", "s", ours, floor, Goal(0.5))


def _download(api: FastApi, names: list[str]) -> float:
    """Seconds from the first question for a file's request to the next status."""
    api.forget()
    job = api.submit("true", files_down={name: name for name in names})
    ended = api.wait("running", job, 900)
    began = api.wait("asked")
    api.wait("finished", job)
    return ended - began


def _silence(api: FastApi, stall: Stall) -> float:
    """Seconds until the file went on: over a new connection, or by itself."""
    if stall.began is None:
        raise RuntimeError("No connection fell silent.")
    went_on = [moment for moment in (api.first("continued"), stall.ended) if moment is not None]
    return min(went_on) - stall.began
