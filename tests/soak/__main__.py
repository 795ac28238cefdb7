"""``python -m tests.soak``: prints the report; the exit code is 0 if it is good."""

import argparse
import os
import random
import shutil
import sys
import tempfile
from pathlib import Path

from tests.soak.soak import Options, soak


def main() -> int:
    """Run one soak. Its folder is kept, and named, if something was wrong."""
    options = _options()
    print(f"soak with seed {options.seed} in {options.folder}", flush=True)
    report = soak(options)
    print(report, flush=True)
    if report.good:
        shutil.rmtree(options.folder)
        return 0
    print(f"The evidence is kept in {options.folder}; replay with --seed {options.seed}.")
    return 1


def _options() -> Options:
    cli = argparse.ArgumentParser(prog="python -m tests.soak", description="Kill a worker again and again.")
    cli.add_argument("--minutes", type=float, default=2)
    cli.add_argument("--seed", type=int, default=random.randrange(10**6))
    cli.add_argument("--kills", type=int, help="end after so many SIGKILLs, if that is sooner")
    cli.add_argument("--jobs", type=int, help="jobs at work at once; the seed decides between 1 and 3")
    as_root = "docker" if os.geteuid() == 0 else "process"
    cli.add_argument("--runner", choices=("docker", "process"), default=as_root)
    args = cli.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="jf-soak-"))
    return Options(args.seed, args.minutes, args.runner, folder, args.kills, args.jobs)


if __name__ == "__main__":
    sys.exit(main())
