"""The worker's lives: started, killed at random or at an aimed point, started again."""

import random
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from persistence.errors import StoreUnavailable, StoreUnusable
from states.table import LIVE
from tests.soak.actors import Actor, drawn
from tests.worker_process import WorkerProcess

RUNNER_POINTS = (
    *("before-create", "after-create", "before-start", "after-start", "before-wait"),
    *("exit-seen", "before-remove", "after-remove"),
)
MORE_POINTS = (
    *("fetch.answered", "fetch.committed", "fetched.begun", "downloading.before-commit"),
    *("downloading.committed", "downloading.begun", "download.part-written", "download.before-rename"),
    *("download.after-rename", "download.recorded", "running.before-commit", "running.committed"),
    *("running.begun", "uploading.before-commit", "uploading.committed", "uploading.begun"),
    *("upload.before-post", "upload.after-post", "upload.recorded", "upload.log-spooled"),
    *("finished.before-commit", "finished.committed", "error.before-commit", "error.committed"),
    *("cancelled.before-commit", "cancelled.committed", "report.before-preprocessing"),
    *("report.after-preprocessing", "report.before-running", "report.after-running"),
    *("report.before-postprocessing", "report.after-postprocessing", "report.before-finished"),
    *("report.after-finished", "report.before-error", "report.after-error", "report.gone-seen"),
    *("sweep.before-remove", "sweep.folder-removed"),
)
AIMED_SECONDS = 5.0
"""How long an aimed life waits for its point before it is killed anyway."""
TERM_SECONDS = 6.0
"""A stopped worker has five seconds to leave."""


@dataclass
class Life:
    """One life of the worker."""

    number: int
    how: str
    """``random``, ``aimed``, ``stopped`` or ``last``."""
    live: list[str]
    """API ids of the jobs that it found in the database."""
    began: float
    ended: float = 0.0
    code: int | None = None
    samples: list[tuple[float, int, int]] = field(default_factory=list)
    """Age in seconds, resident MiB, file descriptors."""

    @property
    def killed(self) -> bool:
        return self.code == -signal.SIGKILL


class Lives:
    """Lets the worker live and die. ``lives`` are all of them, in order."""

    def __init__(self, worker: WorkerProcess, runner: str, seed: int, login: dict[str, str]) -> None:
        self._points = MORE_POINTS + tuple(f"{runner}.{name}" for name in RUNNER_POINTS)
        self._worker = worker
        self._seed = seed
        self._login = login
        self._sampler = Sampler()
        self._sampler.start()
        self.lives: list[Life] = []

    @property
    def kills(self) -> int:
        return sum(life.killed for life in self.lives)

    def one(self) -> Life:
        """One life from start to death."""
        draw = drawn(self._seed, f"life {len(self.lives)}")
        how = draw.choices(("random", "aimed", "stopped"), (60, 34, 6))[0]
        life = self._start(draw, how)
        if how == "stopped":
            self._wait(draw.uniform(0.2, 6))
            self._end(signal.SIGTERM)
        else:
            self._wait(AIMED_SECONDS if how == "aimed" else draw.uniform(0.2, 6))
            self._end(signal.SIGKILL)
        return life

    def last(self) -> Life:
        """The life that nobody ends before its time."""
        return self._start(drawn(self._seed, "last"), "last")

    def stop(self) -> int | None:
        """End the life gently. Returns its exit code."""
        self._end(signal.SIGTERM)
        return self.lives[-1].code

    def finish(self) -> None:
        self._sampler.finish()
        self._worker.kill()

    def _start(self, draw: random.Random, how: str) -> Life:
        failpoints = f"{draw.choice(self._points)}@{_count(draw)}=kill" if how == "aimed" else ""
        variables = self._login if how != "last" and draw.random() < 0.3 else {}
        life = Life(len(self.lives), how, self._live(), time.time())
        self.lives.append(life)
        self._worker.start(failpoints, **variables)
        self._sampler.watch(life, self._worker.process.pid)
        return life

    def _wait(self, seconds: float) -> None:
        try:
            self._worker.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return

    def _end(self, how: signal.Signals) -> None:
        life, process = self.lives[-1], self._worker.process
        if process.poll() is None:
            process.send_signal(how)
        try:
            life.code = process.wait(TERM_SECONDS)
        except subprocess.TimeoutExpired:
            self._worker.kill()
            life.code = None
        life.ended = time.time()
        self._sampler.forget()

    def _live(self) -> list[str]:
        try:
            with self._worker.reader() as reader:
                return [row.api_id for row in reader.jobs({str(state) for state in LIVE})]
        except (StoreUnavailable, StoreUnusable):
            return []


class Sampler(Actor):
    """Looks at the worker's memory and file descriptors every second."""

    def __init__(self) -> None:
        super().__init__()
        self._watched: tuple[Life, int] | None = None

    def watch(self, life: Life, pid: int) -> None:
        self._watched = (life, pid)

    def forget(self) -> None:
        self._watched = None

    def act(self) -> float:
        if watched := self._watched:
            life, pid = watched
            sample = measured(pid)
            if sample is not None:
                life.samples.append((time.time() - life.began, *sample))
        return 1.0


def measured(pid: int) -> tuple[int, int] | None:
    """Resident MiB and open file descriptors of a process; None if it has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        descriptors = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    except OSError:
        return None
    resident = [line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:")]
    return (int(resident[0]) // 1024, descriptors) if resident else None


def _count(draw: random.Random) -> int:
    """Mostly the first time that a point is passed."""
    return draw.choices((1, 2, 3, 8), (70, 15, 10, 5))[0]
