"""The table of contents: every benchmark, in the order in which they run."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bench import bulk, containers, far, moves, peers, rest, scenes, small, starts
from bench.measure import Ground, Row


@dataclass(frozen=True)
class Benchmark:
    """One benchmark; it makes one row or several."""

    run: Callable[[Ground], Iterator[Row]]
    docker: bool = False
    """It needs a Docker engine."""
    heavy: bool = False
    """It installs other programs: never a part of a quick run unless it is asked for."""


BENCHMARKS = {
    "noop": Benchmark(containers.noop, docker=True),
    "exit": Benchmark(containers.exit_noticed, docker=True),
    "moves": Benchmark(moves.moves),
    "big-down": Benchmark(bulk.down),
    "big-up": Benchmark(bulk.up),
    "small": Benchmark(small.small),
    "commands": Benchmark(starts.commands),
    "idle": Benchmark(rest.idle),
    "restart": Benchmark(starts.restart),
    "broken": Benchmark(bulk.broken),
    "link": Benchmark(far.link),
    "large": Benchmark(far.large),
    "many": Benchmark(containers.many, docker=True),
    "pairs": Benchmark(containers.pairs, docker=True),
    "memory": Benchmark(rest.memory),
    "fleet": Benchmark(scenes.fleet),
    "peers": Benchmark(peers.peers, docker=True, heavy=True),
}
"""By name, as ``--only`` takes them."""
