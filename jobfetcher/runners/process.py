"""Runs jobs as processes of this machine: no engine needed, and nothing isolated.

A run is a folder, whose name is the lock. A small process of its own (``process_shim``) runs the command,
outlives this worker and leaves the exit code in the folder.
"""

import json
import logging
import os
import select
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from jobfetcher.failpoints import failpoint
from jobfetcher.runners import process_shim
from jobfetcher.runners.epoch import boot_id, start_time
from jobfetcher.runners.views import Viewer, best_view
from states.errors import JobFailed, Paused, RunLost
from states.job import Exit, Job, Run
from states.ports import Stop
from states.spec import JobSpec

log = logging.getLogger(__name__)

START_SECONDS = 30.0
KILL_SECONDS = 10.0
CHUNK = 64 * 1024
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

REMOVED = "The run's folder was removed by somebody."
INTERRUPTED = "The process was interrupted when the machine restarted."
KILLED = "The process was killed from outside together with what watched it."


class ProcessRunner:
    """Implements ``states.ports.Runner``. ``state_dir`` keeps one folder for each run."""

    def __init__(self, worker: str, state_dir: Path, view: Viewer = best_view) -> None:
        self._view = view
        self._worker = worker
        self._state_dir = state_dir
        self._warned = False

    def prepare(self, spec: JobSpec, stop: Stop) -> str:
        """There is no image to prepare: the command runs with what this machine has."""
        if not self._warned:
            log.warning("process.no-isolation")
            self._warned = True
        return f"process:{spec.handler.image_url}"

    def create(self, job: Job, folder: Path, stop: Stop) -> Run:
        """Safe twice: the folder of the run appears whole, under its name, or not at all."""
        stop.check()
        if job.spec.command is None:
            raise JobFailed("The job has no command; the process runner needs one.")
        known = job.facts.run
        if known is not None:
            if self._meta(known.name).get("id") != known.id:
                raise RunLost(REMOVED)
            return known
        return self._existing(job) or self._create(job, folder)

    def start(self, job: Job, run: Run, stop: Stop) -> Run:
        """Safe twice: the shim itself refuses a run that was ever started."""
        stop.check()
        self._check_is(run)
        place = self._place(run.name)
        if not (place / "started").exists():
            failpoint("process.before-start")
            self._spawn(place)
            failpoint("process.after-start")
        elif not self._lives(run.name):
            return run
        return run.model_copy(update={"epoch": boot_id()})

    def wait(self, job: Job, run: Run, stop: Stop) -> Exit:
        failpoint("process.before-wait")
        stop.check()
        self._check_is(run)
        with self._watched(run.name) as shim, _bell() as bell:
            with stop.interrupts(lambda: os.eventfd_write(bell, 1)):
                _until_readable(shim, bell)
            stop.check()
        self._check_is(run)
        failpoint("process.exit-seen")
        ended = _read(self._place(run.name) / "exit.json")
        if run.epoch != boot_id():
            raise RunLost(INTERRUPTED)
        if not ended:
            raise RunLost(KILLED)
        return Exit.model_validate(ended)

    def logs(self, run: Run, stop: Stop) -> Iterator[bytes]:
        try:
            with (self._place(run.name) / "output.log").open("rb", buffering=0) as output:
                while piece := output.read(CHUNK):
                    stop.check()
                    yield piece
        except FileNotFoundError:
            return

    def stop(self, name: str, grace_seconds: float) -> None:
        self._signal(name, signal.SIGTERM, grace_seconds)
        if self._signal(name, signal.SIGUSR1, KILL_SECONDS):
            raise Paused(f"{name} does not end.")
        if self._is_ours(name) and not _read(self._place(name) / "exit.json"):
            _kill_session(_read(self._place(name) / "child.json"))

    def remove(self, name: str) -> None:
        if not self._is_ours(name):
            return
        self.stop(name, 0)
        failpoint("process.before-remove")
        trash = self._state_dir / f".removed-{uuid.uuid4().hex}"
        with suppress(FileNotFoundError):
            self._place(name).rename(trash)
        self._empty_trash()
        failpoint("process.after-remove")

    def clear(self, job: Job, folder: Path) -> None:
        """Nothing to do: the job's files are this account's."""

    def owned(self) -> list[str]:
        if not self._state_dir.is_dir():
            return []
        self._empty_trash()
        return sorted(place.name for place in self._state_dir.iterdir() if self._is_ours(place.name))

    def _empty_trash(self) -> None:
        """Also what a worker left that died while it made or removed a run."""
        own = f"-{os.getpid()}"
        unfinished = [new for new in self._state_dir.glob(".new-*") if not new.name.endswith(own)]
        for old in (*unfinished, *self._state_dir.glob(".removed-*")):
            shutil.rmtree(old, ignore_errors=True)

    def _place(self, name: str) -> Path:
        return self._state_dir / name

    def _meta(self, name: str) -> dict[str, Any]:
        return _read(self._place(name) / "meta.json")

    def _is_ours(self, name: str) -> bool:
        return not name.startswith(".") and self._meta(name).get("worker") == self._worker

    def _check_is(self, run: Run) -> None:
        if self._meta(run.name).get("id") != run.id:
            raise RunLost(REMOVED)

    def _existing(self, job: Job) -> Run | None:
        if not self._place(job.run_name).exists():
            return None
        meta = self._meta(job.run_name)
        if meta.get("worker") != self._worker:
            raise JobFailed(
                f"{self._place(job.run_name)} exists, but this worker did not make it; remove it."
            )
        if meta["lease"] == job.spec.lease:
            return Run(name=job.run_name, id=meta["id"], epoch=meta["epoch"])
        log.warning("process.stale", extra={"run": job.run_name})
        self.remove(job.run_name)
        return None

    def _create(self, job: Job, folder: Path) -> Run:
        seen = self._view(job.spec.command or "", folder, bool(job.facts.gpus))
        run = Run(name=job.run_name, id=uuid.uuid4().hex, epoch=boot_id())
        self._state_dir.mkdir(parents=True, exist_ok=True)
        new = self._state_dir / f".new-{run.id}-{os.getpid()}"
        new.mkdir()
        meta = {"worker": job.worker, "lease": job.spec.lease, "id": run.id, "epoch": run.epoch}
        what = {"argv": seen.argv, "cwd": seen.cwd, "front": seen.front, "env": _environment(job, folder)}
        process_shim.write(new / "meta.json", meta)
        process_shim.write(new / "run.json", what)
        (new / "output.log").write_text(seen.note)
        failpoint("process.before-create")
        try:
            new.rename(self._place(run.name))
        except OSError:  # somebody was faster: the name is the lock
            shutil.rmtree(new)
            if (existing := self._existing(job)) is None:
                raise
            return existing
        process_shim.sync(self._state_dir)
        failpoint("process.after-create")
        return run

    def _spawn(self, place: Path) -> None:
        """Start the shim and return when it has the run, or has left it to another."""
        argv = [sys.executable, "-I", "-S", process_shim.__file__, str(place)]
        with (place / "shim.log").open("ab") as complaints:
            subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=complaints, stderr=complaints, check=True)
        deadline = time.monotonic() + START_SECONDS
        while not (place / "started").exists():
            if time.monotonic() > deadline:
                raise Paused(f"The process of {place.name} did not start in time.")
            time.sleep(0.002)

    @contextmanager
    def _watched(self, name: str) -> Iterator[int | None]:
        handle = self._shim(name)
        try:
            yield handle
        finally:
            if handle is not None:
                os.close(handle)

    def _lives(self, name: str) -> bool:
        with self._watched(name) as shim:
            return shim is not None

    def _shim(self, name: str) -> int | None:
        """A handle on the shim that becomes readable when it ends; None if it has ended."""
        about = _read(self._place(name) / "shim.json")
        if not about:
            return None
        try:
            handle = os.pidfd_open(about["pid"])
        except ProcessLookupError:
            return None
        if start_time(about["pid"]) == about["start"]:
            return handle
        os.close(handle)  # the number belongs to another process by now
        return None

    def _signal(self, name: str, number: signal.Signals, seconds: float) -> bool:
        """Send a signal to a run of ours and wait for its end. True if it still lives."""
        if not self._is_ours(name):
            return False
        with self._watched(name) as shim:
            if shim is None:
                return False
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(shim, number)
            return not select.select([shim], [], [], seconds)[0]


def _environment(job: Job, folder: Path) -> dict[str, str]:
    """The command's own, as in a container: what this worker has in its environment is not passed on."""
    given = {"PATH": PATH, "HOME": "/tmp", "LANG": "C.UTF-8", "JOBFETCHER_FILES": str(folder)}
    return {**given, "CUDA_VISIBLE_DEVICES": ",".join(job.facts.gpus), **(job.spec.app.env or {})}


@contextmanager
def _bell() -> Iterator[int]:
    bell = os.eventfd(0)
    try:
        yield bell
    finally:
        os.close(bell)


def _kill_session(leader: dict[str, Any]) -> None:
    """End what a command left running whose shim was killed."""
    if leader and start_time(leader["pid"]) in ("", leader["start"]):
        for pid in process_shim.session(leader["pid"]):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _until_readable(shim: int | None, bell: int) -> None:
    if shim is None:
        return
    poll = select.poll()
    poll.register(shim, select.POLLIN)
    poll.register(bell, select.POLLIN)
    poll.poll()


def _read(path: Path) -> dict[str, Any]:
    """What a file says; nothing if it is not there."""
    try:
        found: dict[str, Any] = json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    return found
