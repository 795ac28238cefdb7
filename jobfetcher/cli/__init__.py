"""The command ``jobfetcher``."""

import gc
import sys

from jobfetcher._version import __version__

__all__ = ["main"]


def main() -> None:
    """Entry point. The version is said before anything is loaded."""
    if sys.argv[1:] == ["--version"]:
        print(__version__)
        return
    gc.disable()  # what is loaded stays: to look through it while it grows takes a tenth of the time
    from jobfetcher.cli import commands

    gc.freeze()
    gc.enable()
    commands.main()
