"""Fakes of what a job's steps work with, each to be read in a minute; one call log for all of them.

``Calls`` can be told to raise at a call. ``FakeEngine`` is the part of the world that survives a crash
of the worker: hand the same one to the tools of the next life.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from states.errors import RunLost
from states.job import Exit, Job, JobState, Run
from states.ports import Stop, Store, StoredFile, Uploaded
from states.spec import JobSpec
from tests.crash_injection import CrashPoints

READABLE = {
    "app": {"cmd": ["true"], "env": {}},
    "handler": {"image_url": "image:1", "files_down": {}, "files_up": {}},
    "meta": {"job_id": 7, "date_created": "2026-03-01T09:30:00"},
    "hardware": {},
}


def a_spec(job_id: str = "1") -> JobSpec:
    """A specification in which nothing is wrong."""
    return JobSpec.parse(job_id, READABLE)


def a_job(state: JobState = JobState.FETCHED, exit_code: int | None = None, run: int = 1) -> Job:
    """A job as the store could hold it."""
    job = Job(key=1, worker="w", spec=a_spec(), state=state, run=run)
    return job if exit_code is None else job.with_facts(exit=Exit(code=exit_code))


class Calls:
    """The log of all calls, and what some of them are to raise: one error per call, in order."""

    def __init__(self, planned: dict[str, Sequence[Exception]] | None = None) -> None:
        self.log: list[str] = []
        self._planned = {name: list(errors) for name, errors in (planned or {}).items()}

    def __call__(self, name: str) -> None:
        self.log.append(name)
        if errors := self._planned.get(name):
            raise errors.pop(0)


@dataclass
class FakeEngine:
    """The containers by name, and the name of each start, in order."""

    exit_code: int = 0
    loses: frozenset[int] = frozenset()
    """Numbers of the runs whose container vanishes before it ends."""
    started: dict[str, bool] = field(default_factory=dict)
    starts: list[str] = field(default_factory=list)


class FakeStop:
    """Set from the beginning if it is given an error, which ``check`` raises; else never."""

    def __init__(self, error: Exception | None = None) -> None:
        self._error = error

    def is_set(self) -> bool:
        return self._error is not None

    def wait(self, seconds: float) -> bool:
        return self.is_set()

    def check(self) -> None:
        if self._error:
            raise self._error

    def interrupts(self, callback: Callable[[], None]) -> AbstractContextManager[None]:
        if self.is_set():
            callback()
        return nullcontext()


class FakeWorkspace:
    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def admit(self, job: Job) -> None:
        self._calls("workspace.admit")

    def prepare(self, job: Job) -> Path:
        self._calls("workspace.prepare")
        return self.folder(job)

    def used(self, job: Job) -> bool:
        return False

    def discard(self, job: Job) -> None:
        self._calls("workspace.discard")

    def folder(self, job: Job) -> Path:
        return Path("/base") / f"{job.slug}-{job.run}"


class FakeTransfers:
    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def download(self, job: Job, folder: Path, stop: Stop) -> None:
        self._calls("transfers.download")

    def upload(self, job: Job, folder: Path, log: Iterator[bytes], stop: Stop) -> Uploaded:
        self._calls("transfers.upload")
        whole = StoredFile(direction="up", kind="log", path="log/container.log", size=14)
        return Uploaded(b"".join(log).decode(), (whole,))


class FakeLease:
    """The API has its say once somebody waits for it."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._is_confirmed = False

    def confirm(self, job: Job, stop: Stop) -> None:
        self._calls("lease.confirm")
        self._is_confirmed = True

    def confirmed(self, job: Job) -> bool:
        return self._is_confirmed


class FakeRunner:
    """Runs nothing; keeps the promise of the port: a name is started once, a known run may be lost."""

    def __init__(self, calls: Calls, engine: FakeEngine) -> None:
        self._calls = calls
        self._engine = engine

    def prepare(self, spec: JobSpec, stop: Stop) -> str:
        self._calls("runner.prepare")
        return "sha256:1"

    def create(self, job: Job, folder: Path, stop: Stop) -> Run:
        self._calls("runner.create")
        if job.facts.run and job.run_name not in self._engine.started:
            raise RunLost("The container vanished.")
        self._engine.started.setdefault(job.run_name, False)
        return Run(name=job.run_name, id=f"id of {job.run_name}")

    def start(self, job: Job, run: Run, stop: Stop) -> Run:
        self._calls("runner.start")
        if not self._engine.started[run.name]:
            self._engine.started[run.name] = True
            self._engine.starts.append(run.name)
        return run.model_copy(update={"epoch": "boot 1"})

    def wait(self, job: Job, run: Run, stop: Stop) -> Exit:
        self._calls("runner.wait")
        if job.run in self._engine.loses:
            self._engine.started.pop(run.name)
            raise RunLost("The container vanished.")
        return Exit(code=self._engine.exit_code)

    def logs(self, run: Run, stop: Stop) -> Iterator[bytes]:
        self._calls("runner.logs")
        return iter([b"said ", b"something"])

    def stop(self, name: str, grace_seconds: float) -> None:
        self._calls("runner.stop")

    def remove(self, name: str) -> None:
        self._calls("runner.remove")
        self._engine.started.pop(name, None)

    def clear(self, job: Job, folder: Path) -> None:
        self._calls("runner.clear")

    def owned(self) -> list[str]:
        return list(self._engine.started)


class FakeTools:
    """One job's tools over a store, an engine and a call log."""

    gpus: tuple[str, ...] = ("GPU-1",)

    def __init__(self, store: Store, engine: FakeEngine | None = None, calls: Calls | None = None) -> None:
        self.calls = calls or Calls()
        self.workspace = FakeWorkspace(self.calls)
        self.transfers = FakeTransfers(self.calls)
        self.lease = FakeLease(self.calls)
        self.runner = FakeRunner(self.calls, engine or FakeEngine())
        self.stop = FakeStop()
        self.bugs: list[str] = []
        self._store = store

    def watched(self, points: CrashPoints) -> Self:
        """The same tools, with a point to die at before and after each call of a part."""
        for name in ("workspace", "transfers", "lease", "runner"):
            setattr(self, name, points.watched(getattr(self, name), name))
        return self

    def together(self, first: Callable[[Stop], object], second: Callable[[Stop], object]) -> None:
        first(self.stop)
        second(self.stop)

    def promise(self, job: Job) -> Job:
        return job.with_facts(gpus=self.gpus)

    def hold(self, job: Job) -> Job:
        return job if job.facts.gpus == self.gpus else self._store.note(job.with_facts(gpus=self.gpus))

    def note(self, job: Job) -> Job:
        return self._store.note(job)

    def settle(self, job: Job) -> Job:
        return self._store.settle(job)

    def stumbled(self, job: Job, error: Exception) -> None:
        self.bugs.append(str(error))
