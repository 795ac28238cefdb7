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
from tests.soak.points import points
from tests.worker_process import WorkerProcess

SECONDS = {"random": (0.2, 6.0), "patient": (8.0, 20.0)}
"""How long lives last that nothing else ends: a patient one also does what takes long for the operator."""
AIMED_SECONDS = 5.0
"""How long an aimed life waits for its point before it is killed anyway."""
TERM_SECONDS = 6.0
"""A stopped worker has five seconds to leave."""
WITH_PORT = 0.4
"""Share of the lives that have a status page."""
KEEPING = 0.5
"""Share of the lives that keep the folders of ended jobs for a moment."""
KEPT_HOURS = "0.001"
LONG_KEPT_HOURS = "1"
"""Of the last life, if it keeps them: longer than anybody waits, so that only ``prune`` removes them."""


@dataclass(frozen=True)
class Sample:
    """The size of a worker at one time."""

    age: float
    """Seconds."""
    resident: int
    """MiB."""
    descriptors: int
    threads: int

    def __str__(self) -> str:
        return f"{self.resident} MiB/{self.descriptors}/{self.threads}"


@dataclass
class Life:
    """One life of the worker."""

    number: int
    how: str
    """``random``, ``aimed``, ``stopped``, ``patient`` or ``last``."""
    live: list[str]
    """API ids of the jobs that it found in the database."""
    began: float
    point: str = ""
    """Where it was to end; empty if it was not aimed."""
    has_port: bool = False
    keeps: bool = False
    ended: float = 0.0
    code: int | None = None
    by_itself: bool = False
    """It had ended before anybody wanted it to: at its point, drained, or for a bad reason."""
    samples: list["Sample"] = field(default_factory=list)

    @property
    def killed(self) -> bool:
        return self.code == -signal.SIGKILL

    @property
    def hit(self) -> bool:
        """It was killed at its point."""
        return bool(self.point) and self.by_itself and self.killed


class Lives:
    """Lets the worker live and die. ``lives`` are all of them, in order."""

    def __init__(self, worker: WorkerProcess, runner: str, seed: int, login: dict[str, str]) -> None:
        self.points = points(runner)
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
        how = draw.choices(("random", "aimed", "stopped", "patient"), (52, 36, 6, 6))[0]
        life = self._start(draw, how)
        if how == "stopped":
            self._wait(draw.uniform(0.2, 6))
            self._end(signal.SIGTERM)
        else:
            self._wait(AIMED_SECONDS if how == "aimed" else draw.uniform(*SECONDS[how]))
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
        life = Life(len(self.lives), how, self._live(), time.time())
        life.has_port, life.keeps = draw.random() < WITH_PORT, draw.random() < KEEPING
        life.point = draw.choice(self.points) if how == "aimed" else ""
        variables = self._login if how != "last" and draw.random() < 0.3 else {}
        if life.has_port:
            variables = {**variables, "STATUS_PORT": "0"}
        if life.keeps:
            variables = {**variables, "KEEP_JOBS": LONG_KEPT_HOURS if how == "last" else KEPT_HOURS}
        self.lives.append(life)
        self._worker.start(f"{life.point}@{_count(draw)}=kill" if life.point else "", **variables)
        self._sampler.watch(life, self._worker.process.pid)
        return life

    def _wait(self, seconds: float) -> None:
        try:
            self._worker.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return

    def _end(self, how: signal.Signals) -> None:
        life, process = self.lives[-1], self._worker.process
        life.by_itself = process.poll() is not None
        if not life.by_itself:
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
    """Looks at the worker's size every second."""

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
            if sample := measured(pid, time.time() - life.began):
                life.samples.append(sample)
        return 1.0


def measured(pid: int, age: float) -> Sample | None:
    """The size of a process of that age; None if it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        descriptors = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    except OSError:
        return None
    said = {words[0]: words[1] for line in lines if len(words := line.split()) > 1}
    if "VmRSS:" not in said:
        return None
    return Sample(age, int(said["VmRSS:"]) // 1024, descriptors, int(said["Threads:"]))


def _count(draw: random.Random) -> int:
    """Mostly the first time that a point is passed."""
    return draw.choices((1, 2, 3, 8), (70, 15, 10, 5))[0]
