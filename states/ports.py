"""What the steps and the loop need from the world, declared by those who need it.

Every call may block; each that can block for long takes the job's ``Stop`` and leaves with its
error (``Paused`` or ``JobGone``) soon after it is set.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pydantic import BaseModel, ConfigDict

from states.job import ApiStatus, Exit, Job, Run, StatusUpdate, Trigger
from states.spec import FileType, JobSpec


class Stop(Protocol):
    """The one signal per job by which everything that happens for it is ended early."""

    def is_set(self) -> bool: ...

    def wait(self, seconds: float) -> bool:
        """Sleep, but wake when set. True if it is set."""

    def check(self) -> None:
        """Raise ``JobGone`` or ``Paused`` if set."""

    def interrupts(self, callback: Callable[[], None]) -> AbstractContextManager[None]:
        """Within the block, call ``callback`` (from any thread) when set; at once if it is set already.

        For calls that only end when somebody closes what they read from.
        """


class StoredFile(BaseModel):
    """A file of a job that is known to be whole: written to disk, or acknowledged by the API."""

    model_config = ConfigDict(frozen=True)

    direction: str
    """``down`` or ``up``."""
    kind: str
    """``input``, or the upload's type: ``output``, ``log`` or ``artifact``."""
    path: str
    """Relative to ``/files``."""
    size: int
    """Bytes."""
    sha256: str = ""
    seconds: float = 0.0
    """How long the transfer took."""


@dataclass(frozen=True)
class Uploaded:
    """What came of an upload."""

    last_lines: str
    """Of the container's log."""
    files: tuple[StoredFile, ...] = ()
    """What the API has taken and is not on record yet: it goes on record with the job's move."""


class Store(Protocol):
    """What has happened. A call returns only after its transaction is on disk."""

    def add(self, spec: JobSpec) -> Job:
        """Take a lease on. Idempotent while the lease lives; also queues its first status.

        A lease that has ended with us in ``finished`` or ``error`` and is delivered again gets its
        terminal status queued once more; one that was taken from us (``cancelled``) begins anew
        with its next ``delivery``.
        """

    def add_all(self, specs: list[JobSpec]) -> list[Job]:
        """``add`` for all of one answer of the API, in one transaction: all or none."""

    def get(self, key: int) -> Job: ...

    def live(self) -> list[Job]:
        """Jobs that are not in a terminal state, oldest first."""

    def begin(self, job: Job) -> Job:
        """attempts + 1."""

    def forgive(self, job: Job) -> None:
        """attempts - 1, never below 0."""

    def note(self, job: Job) -> Job:
        """Write the job's facts without moving it."""

    def settle(self, job: Job) -> Job:
        """``note`` and ``forgive`` at once."""

    def commit(self, before: Job, after: Job, because: Trigger, files: Sequence[StoredFile] = ()) -> Job:
        """Write the move, its history, ``files`` as done and, if ``told`` changed, its status for the API,
        at once.

        A move because of ``LOST`` also forgets the job's files: the next run begins from clean
        inputs. Raises ``StaleJob`` if the row is not at ``before.version``.
        """

    def files(self, job: Job, direction: str) -> list[StoredFile]: ...

    def record_file(self, job: Job, file: StoredFile) -> None:
        """``record_files`` with a single one."""

    def record_files(self, job: Job, files: Sequence[StoredFile]) -> None:
        """Note files as done, at once; counts as progress (attempts = 0).

        Idempotent; safe from any thread.
        """

    def unsent(self, limit: int = 1000) -> list[StatusUpdate]:
        """The oldest unsent update of each job that has one, except jobs that are gone.

        Whatever its job was acknowledged before is on disk: no later life tells them in another order.
        """

    def mark_sent(self, update: StatusUpdate) -> None:
        """The API has acknowledged the update. Durable on return."""

    def acknowledged(self, update: StatusUpdate) -> None:
        """``mark_sent`` along with the next write, whichever that is; until then it is as good as sent.

        A death before that forgets it, and the update is sent again: for one that may be heard twice.
        """

    def catch_up(self) -> None:
        """Write what waits for the next write. Durable on return."""

    def mark_gone(self, key: int) -> None:
        """The API answered 404: nothing of this job will be sent any more. Durable on return."""

    def reported(self, key: int) -> bool:
        """The job has ended, and the API has heard all it is to hear of it."""


class Runner(Protocol):
    """Runs containers. A run is found by its name; a name is never run twice."""

    def prepare(self, spec: JobSpec, stop: Stop) -> str:
        """Make the image present and return its exact id. ``JobFailed`` if there is no such image."""

    def create(self, job: Job, folder: Path, stop: Stop) -> Run:
        """Make the container of the job's current run, or find it. It is not started.

        ``RunLost`` if the job knows its container already and the engine no longer does.
        """

    def start(self, job: Job, run: Run, stop: Stop) -> Run:
        """Start the run if it has never been started; adopt it if it has. Returns it as last seen."""

    def wait(self, job: Job, run: Run, stop: Stop) -> Exit:
        """Return when the run has ended by itself; noticed at once. Never polls slowly, never kills.

        ``RunLost`` if it vanished, or if it ended in another engine epoch than it was seen alive in;
        ``Paused`` if the engine is away.
        """

    def logs(self, run: Run, stop: Stop) -> Iterator[bytes]:
        """What the run wrote to stdout and stderr, in pieces. Empty if it is gone."""

    def stop(self, name: str, grace_seconds: float) -> None:
        """End the run if it is running. Quiet if there is none."""

    def remove(self, name: str) -> None:
        """Remove the run, stopped or not. Quiet if there is none."""

    def clear(self, job: Job, folder: Path) -> None:
        """Empty ``folder`` of what the job's runs left there and this account may not remove.

        Quiet where nothing can be done.
        """

    def owned(self) -> list[str]:
        """Names of all runs of this worker that the engine still knows."""


class Workspace(Protocol):
    """The job's folder on this machine, and what may enter it."""

    def admit(self, job: Job) -> None:
        """``JobFailed`` with a sentence if the job must not run here (paths, image, disk)."""

    def prepare(self, job: Job) -> Path:
        """Make the folder of the job's current run, with its output folders, and return it.

        Idempotent. Each run has a folder of its own; those of earlier runs are removed.
        """

    def used(self, job: Job) -> bool:
        """Something of this job is on the disk already."""

    def discard(self, job: Job) -> None:
        """Remove everything of the job. Idempotent. Raises ``OSError`` if something stays."""

    def folder(self, job: Job) -> Path:
        """The folder of the job's current run: what the container sees as ``/files``."""


class Transfers(Protocol):
    """Moves a job's files. What the store has as done is not moved again."""

    def download(self, job: Job, folder: Path, stop: Stop) -> None: ...

    def upload(self, job: Job, folder: Path, log: Iterator[bytes], stop: Stop) -> Uploaded:
        """Upload all outputs, then ``log`` as the container's log."""


class Lease(Protocol):
    """Whether the job is ours."""

    def confirm(self, job: Job, stop: Stop) -> None:
        """Return once the API has acknowledged this job since this process started.

        ``JobGone`` if it answers 404 instead.
        """

    def confirmed(self, job: Job) -> bool:
        """Whether ``confirm`` would return at once."""


class Tools(Protocol):
    """What one job's steps work with."""

    @property
    def workspace(self) -> Workspace: ...
    @property
    def transfers(self) -> Transfers: ...
    @property
    def runner(self) -> Runner: ...
    @property
    def lease(self) -> Lease: ...
    @property
    def stop(self) -> Stop: ...
    def promise(self, job: Job) -> Job:
        """``hold`` for a job whose next move commits it, which must come at once."""

    def hold(self, job: Job) -> Job:
        """The job with its share of the machine and its GPUs among its facts, committed.

        Idempotent; what it holds stays its own until its end, and is replaced only where it vanished before
        the container was made. ``Paused`` with a sentence while it cannot be had.
        """

    def together(self, first: Callable[[Stop], object], second: Callable[[Stop], object]) -> None:
        """Run both side by side, each with a ``Stop`` of its own that follows the job's.

        Raises the first's error or the second's. An error that ends the job (not ``Paused``) also
        ends the other early.
        """

    def note(self, job: Job) -> Job:
        """``Store.note``."""

    def settle(self, job: Job) -> Job:
        """From here on a crash is not the job's fault. ``Store.settle``."""

    def stumbled(self, job: Job, error: Exception) -> None:
        """A step raised what it must not: log it with its traceback and wait a little."""


class FileRequest(BaseModel):
    """A request, described by the API, that moves one file (or all files of a folder)."""

    model_config = ConfigDict(frozen=True, extra="allow")

    method: str
    url: str
    headers: dict[str, str] = {}
    data: dict[str, str] = {}


class Resources(BaseModel):
    """What this machine offers; ``memory`` and ``gpu_mem`` are whole MiB."""

    model_config = ConfigDict(frozen=True)

    memory: int
    cpu_cores: int = 1
    gpu_mem: int = 0
    gpu_model: str | None = None
    gpu_archi: str | None = None
    groups: tuple[str, ...] = ()
    older_than: int = 0
    """Seconds that a job for any environment must have waited."""


class Api(Protocol):
    """One call is one request with one typed answer; no policy."""

    def fetch_jobs(self, resources: Resources, limit: int = 1) -> list[JobSpec]: ...
    def put_status(self, job_id: str, status: ApiStatus, detail: str = "") -> None: ...
    def job_status(self, job_id: str) -> str: ...
    def download_request(self, file_id: str) -> FileRequest: ...
    def upload_request(self, job_id: str, kind: FileType, base_path: str) -> FileRequest: ...
