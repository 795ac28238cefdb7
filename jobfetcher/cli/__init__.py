"""The command ``jobfetcher``."""

from jobfetcher.cli.commands import main

__all__ = ["main"]
