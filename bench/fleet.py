"""Thousands of workers against one API, on a virtual clock: ``python -m bench.fleet``.

What decides when a worker asks is the shipped code (see ``bench.fleet_worker``); only time is pretended.
"""

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from bench import pages
from bench.scenes import SCENES, STARTS, Advice, Scene, Trace, advice, simulate

WORKERS = 10_000
FLEETS = (100, 1_000, 10_000)
SMALL = FLEETS[:1]
LONGEST_KEEP_ALIVE = 140
"""The largest TIMEOUT_STATUS, in seconds: two of them fit into the silence that the service allows."""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    cli = argparse.ArgumentParser(prog="python -m bench.fleet", description=__doc__)
    cli.add_argument("--workers", type=int, default=WORKERS, help=f"size of the fleet; default {WORKERS}")
    cli.add_argument("--small", action="store_true", help="advise for small fleets only")
    cli.add_argument("--write-docs", type=Path, metavar="PAGE", help="renew the tables of that page")
    cli.add_argument("--plot", type=Path, metavar="SVG", help="draw the requests a second")
    return cli


def main(arguments: Sequence[str] | None = None) -> int:
    """Simulate, print the tables, and renew the page and the plot if asked."""
    args = parser().parse_args(arguments)
    outages = [_told(scene, args.workers) for scene in SCENES]
    starts = [_told(scene, args.workers) for scene in STARTS]
    tables = {
        "fleet-outages": pages.table(*_outages(outages)),
        "fleet-starts": pages.table(*_starts(starts)),
        "fleet-advice": pages.table(*_advised(advice(SMALL if args.small else FLEETS))),
    }
    print("\n".join(tables.values()), end="")
    for name, text in tables.items():
        if args.write_docs:
            pages.renew(args.write_docs, name, text)
    if args.plot:
        from bench.plots import fleet  # matplotlib is slow to load

        fleet(outages, starts, args.plot)
    return 0


def _told(scene: Scene, workers: int) -> Trace:
    print(f"fleet: {scene.name}", file=sys.stderr, flush=True)
    return simulate(scene, workers)


def _outages(traces: Sequence[Trace]) -> tuple[Sequence[str], list[tuple[str, ...]]]:
    headings = ("what", "steady, requests/s", "peak after it, requests/s", "peak / steady")
    return headings, [
        (t.scene.name, f"{t.steady:,.0f}", f"{t.peak():,}", f"{t.peak() / t.steady:.2f}") for t in traces
    ]


def _starts(traces: Sequence[Trace]) -> tuple[Sequence[str], list[tuple[str, ...]]]:
    headings = ("what", "steady, requests/s", "first second", "highest second after that", "that / steady")
    return headings, [
        (
            t.scene.name,
            f"{t.steady:,.0f}",
            f"{t.rates(0, 1)[0]:,}",
            f"{t.peak(after=1):,}",
            f"{t.peak(after=1) / t.steady:.2f}",
        )
        for t in traces
    ]


def _advised(found: Iterable[Advice]) -> tuple[Sequence[str], list[tuple[str, ...]]]:
    headings = (
        "workers",
        "the API takes, requests/s",
        "`TIMEOUT_JOB`, s",
        "`TIMEOUT_STATUS` if all are busy, s",
        "slowest answer if all start within a minute, s",
        "and in the same instant, s",
    )
    return headings, [
        (
            f"{a.workers:,}",
            f"{a.capacity:,}",
            f"{a.period:.0f}",
            f"{a.keep_alive:.0f}" if a.keep_alive <= LONGEST_KEEP_ALIVE else "not possible",
            f"{a.within_a_minute:.1f}",
            f"{a.at_once:.1f}",
        )
        for a in found
    ]


if __name__ == "__main__":
    sys.exit(main())
