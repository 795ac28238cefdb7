"""Lives of a job, told by what the world does to it; for tests in which the worker dies at every moment."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from states.errors import JobFailed, JobGone
from states.table import MAX_RERUNS
from tests.fake_tools import FakeEngine

MANY = 50


@dataclass(frozen=True)
class Story:
    """The world is the same in each life of the worker: what it does once, it does again."""

    exit_code: int = 0
    loses: tuple[int, ...] = ()
    """Numbers of the runs whose container vanishes."""
    at: str = ""
    """A call that always raises ``error``."""
    error: Callable[[], Exception] = Exception

    def engine(self) -> FakeEngine:
        """A fresh engine for a fresh world."""
        return FakeEngine(self.exit_code, frozenset(self.loses))

    def planned(self) -> dict[str, Sequence[Exception]]:
        """What the calls of one life raise."""
        return {self.at: [self.error() for _ in range(MANY)]} if self.at else {}


STORIES = {
    "goes well": Story(),
    "command fails": Story(exit_code=3),
    "lost once": Story(loses=(1,)),
    "lost too often": Story(loses=tuple(range(1, MAX_RERUNS + 2))),
    "refused": Story(at="workspace.admit", error=lambda: JobFailed("Climbs out.")),
    "input missing": Story(at="transfers.download", error=lambda: JobFailed("Input missing.")),
    "no such command": Story(at="runner.start", error=lambda: JobFailed("No such command.")),
    "gone before the run": Story(at="lease.confirm", error=JobGone),
    "gone while running": Story(at="runner.wait", error=JobGone),
    "gone while uploading": Story(at="transfers.upload", error=JobGone),
}
