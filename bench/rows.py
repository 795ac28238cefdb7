"""The table of contents: every benchmark, in the order in which they run."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bench import bulk, containers, moves, rest, small, starts
from bench.measure import Ground, Row


@dataclass(frozen=True)
class Benchmark:
    """One benchmark; it makes one row or several."""

    run: Callable[[Ground], Iterator[Row]]
    docker: bool = False
    """It needs a Docker engine."""


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
    "many": Benchmark(containers.many, docker=True),
    "memory": Benchmark(rest.memory),
}
"""By name, as ``--only`` takes them."""
