"""The command ``jobfetcher``."""

import sys

from jobfetcher._version import __version__

__all__ = ["main"]


def main() -> None:
    """Entry point. The version is said before anything is loaded."""
    try:
        _main()
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def _main() -> None:
    if sys.argv[1:] == ["--version"]:
        print(__version__)
        return
    from jobfetcher.cli.loading import loading

    with loading():
        from jobfetcher.cli import commands

    commands.main()
