"""``python -m bench``: measure, print a table, and write ``bench/results.json``."""

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench import table
from bench.measure import FULL, QUICK, Ground, Row, Scale
from bench.rows import BENCHMARKS

RESULTS = Path(__file__).with_name("results.json")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    cli = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    cli.add_argument("--quick", action="store_true", help="everything once, small: shows that it works")
    cli.add_argument("--only", nargs="+", metavar="NAME", choices=BENCHMARKS, help=", ".join(BENCHMARKS))
    cli.add_argument("--folder", type=Path, help="where to work; default: the system's temporary folder")
    cli.add_argument("--results", type=Path, default=RESULTS, help="where to write the figures as JSON")
    cli.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    return cli


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmarks. Exit code 0, also where a goal was missed."""
    args = parser().parse_args(arguments)
    rows = list(measured(args.only or list(BENCHMARKS), QUICK if args.quick else FULL, args.folder))
    table.write(rows, args.results)
    if args.markdown:
        print(table.markdown(rows), end="")
    else:
        table.show(rows)
    return 0


def measured(names: Sequence[str], scale: Scale, folder: Path | None) -> Iterator[Row]:
    """The rows of the benchmarks ``names``, each of which works in a fresh folder."""
    for name in names:
        print(f"bench: {name}", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(prefix="jobfetcher-bench-", dir=folder) as fresh:
            yield from BENCHMARKS[name].run(Ground(Path(fresh), scale))


if __name__ == "__main__":
    sys.exit(main())
