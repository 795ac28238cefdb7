"""``jobfetcher top``: a live view of a worker that fills the screen."""

from jobfetcher.cli.top.start import run_top

__all__ = ["run_top"]
