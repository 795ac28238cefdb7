"""``python -m bench``: measure, print a table, and write ``bench/results.json``."""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench import pages, table
from bench.measure import FULL, QUICK, Ground, Row, Scale
from bench.rows import BENCHMARKS

RESULTS = Path(__file__).with_name("results.json")
TABLE = "bench-table"
"""The comments around the table of a page."""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    cli = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    cli.add_argument("--quick", action="store_true", help="everything once, small: shows that it works")
    cli.add_argument("--only", nargs="+", metavar="NAME", choices=BENCHMARKS, help=", ".join(BENCHMARKS))
    cli.add_argument("--folder", type=Path, help="where to work; default: the system's temporary folder")
    cli.add_argument("--results", type=Path, default=RESULTS, help="where the figures are kept as JSON")
    cli.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    cli.add_argument("--merge", action="store_true", help="keep rows of earlier runs that this one lacks")
    cli.add_argument("--from-results", action="store_true", help="measure nothing: take the kept figures")
    cli.add_argument("--plot", type=Path, metavar="SVG", help="draw each row's ratio and goal")
    cli.add_argument("--write-docs", type=Path, metavar="PAGE", help="renew the table in that page")
    return cli


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmarks. Exit code 0, also where a goal was missed."""
    args = parser().parse_args(arguments)
    if args.from_results and not args.results.exists():
        parser().error(f"there are no figures in {args.results} yet: run the benchmarks first")
    kept = (args.merge or args.from_results) and args.results.exists()
    rows = table.read(args.results) if kept else []
    scale = QUICK if args.quick else FULL
    for name in [] if args.from_results else chosen(args.only, args.quick):
        rows = table.merged(rows, measured(name, scale, args.folder))
        table.write(rows, args.results)  # each time: a run takes long, and may be cut short
    publish(rows, args.markdown, args.plot, args.write_docs)
    return 0


def publish(rows: Sequence[Row], as_markdown: bool, picture: Path | None, page: Path | None) -> None:
    """Print the table, draw the picture and renew the page."""
    print(table.markdown(rows), end="") if as_markdown else table.show(rows)
    if picture:
        from bench.plots import rows as draw  # matplotlib is slow to load

        draw(rows, picture)
    if page:
        pages.renew(page, TABLE, table.markdown(rows))


def chosen(only: Sequence[str] | None, quick: bool) -> list[str]:
    """The benchmarks to run."""
    return list(only or (name for name, found in BENCHMARKS.items() if not (quick and found.heavy)))


def measured(name: str, scale: Scale, folder: Path | None) -> list[Row]:
    """The rows of one benchmark, which works in a fresh folder."""
    print(f"bench: {name}", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(prefix="jobfetcher-bench-", dir=folder) as fresh:
        return list(BENCHMARKS[name].run(Ground(Path(fresh), scale)))


if __name__ == "__main__":
    sys.exit(main())
