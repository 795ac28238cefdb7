"""Takes what a job made to the API's storage: every file of its output folders, then the log.

Safe twice: what was acknowledged is left out, everything else overwrites what half arrived.
"""

import logging
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from jobfetcher.api.retries import NEVER, Policy, RetryingApi
from jobfetcher.failpoints import failpoint
from jobfetcher.progress import Meter, metered
from jobfetcher.transfer.batch import SMALL, Batch
from jobfetcher.transfer.crew import side_by_side
from jobfetcher.transfer.folders import open_file, opened
from jobfetcher.transfer.options import OnDone, Transfer
from jobfetcher.transfer.pool import INACTIVITY_SECONDS, Pool
from jobfetcher.transfer.sender import Sender, Sick
from jobfetcher.transfer.spool import CAP, Spool, spool_path
from jobfetcher.transfer.tree import Findings, Output, size_below, walk
from states import paths
from states.errors import JobFailed, Paused
from states.ports import Api, Stop, StoredFile
from states.spec import FileType, JobSpec

_log = logging.getLogger(__name__)

_SHOWN = 20
"""Paths named in a message; the log's structured fields have them too."""

_BAD = 8
"""Files of a job that cannot be stored, after which no others are tried."""


class SetAside(Paused):
    """The storage took the log, yet answered 500 to these outputs, as often as they were tried."""

    def __init__(self, sick: Mapping[str, Sick]) -> None:
        error = next(iter(sick.values()))
        super().__init__(str(error), error.retry_after)
        self.paths = tuple(sick)


def upload_outputs(
    api: Api,
    spec: JobSpec,
    folder: Path,
    *,
    stop: Stop = NEVER,
    connections: int = 8,
    done: Iterable[StoredFile] = (),
    on_done: OnDone = lambda _: None,
    log: Iterable[bytes] | None = None,
    log_name: str = "container.log",
    log_cap: int = CAP,
    with_log: bool = True,
    policy: Policy | None = None,
    inactivity: float = INACTIVITY_SECONDS,
) -> str:
    """Upload every file of the job's output folders, then ``log``; return the log's last lines.

    Files of ``done`` are left out; ``on_done`` is called, from any thread, once the API has taken one.
    Of the log the last ``log_cap`` bytes are kept; without ``with_log`` it is read for its last lines only.
    Links, FIFOs, sockets and devices are left out.
    Raises ``JobFailed`` with a sentence (after everything else was uploaded, if single outputs cannot be
    read or stored), ``JobGone`` if the API no longer knows the job, ``Paused`` if it can perhaps be done
    later.
    """
    transfer = Transfer.telling_each(
        on_done, stop=stop, connections=connections, done=done, policy=policy, inactivity=inactivity
    )
    kept = None if log is None else Log(log, log_name, log_cap, with_log)
    return send_outputs(api, spec, folder, transfer, kept)


@dataclass(frozen=True)
class Log:
    """The container's log, on its way up."""

    pieces: Iterable[bytes]
    name: str = "container.log"
    cap: int = CAP
    """Bytes of its end that are kept."""
    wanted: bool = True
    """It is uploaded; else it is only read for its last lines."""
    stays: bool = False
    """A copy stays beside the folder, for people, as long as the folder's surroundings do."""
    on_whole: Callable[[StoredFile], object] | None = None
    """Called once the API has taken it, in place of what is called for other files."""


def send_outputs(api: Api, spec: JobSpec, folder: Path, transfer: Transfer, log: Log | None = None) -> str:
    """``upload_outputs`` with its options as values."""
    policy = transfer.policy or (api.policy if isinstance(api, RetryingApi) else Policy())
    bare = api.bare if isinstance(api, RetryingApi) else api
    with Pool(transfer.connections, transfer.inactivity) as pool, metered("upload") as meter:
        upload = _Upload(spec, folder, Sender(bare, spec.id, pool, policy), meter, transfer)
        upload.plan()
        upload.files()
        last_lines = "" if log is None else upload.log(log)
    upload.report()
    return last_lines


class _Upload:
    """One job's outputs."""

    def __init__(self, spec: JobSpec, folder: Path, sender: Sender, meter: Meter, transfer: Transfer) -> None:
        self._spec = spec
        self._folder = folder
        self._sender = sender
        self._meter = meter
        self._transfer = transfer
        self._done = {(file.kind, file.path): file.size for file in transfer.done if file.direction == "up"}
        self._batch = Batch(self._record, transfer.together)
        self._findings = Findings()
        self._refused: list[JobFailed] = []
        self._sick: dict[str, Sick] = {}
        self._log_taken = False

    def plan(self) -> None:
        """Tell the meter what there is. What grows or vanishes meanwhile only makes it less exact."""
        for _, below in paths.output_folders(self._spec):
            files, size = size_below(self._folder, below)
            self._meter.plan(files)
            self._meter.expect(size, files)
        self._meter.already(sum(self._done.values()))
        self._meter.file_done(len(self._done))

    def files(self) -> None:
        """Upload the output folders' files."""
        transfer = self._transfer
        try:
            side_by_side(
                self._file, self._waiting(), transfer.connections, transfer.stop, after=self._batch.flush
            )
        finally:
            self._batch.flush()

    def _waiting(self) -> Iterator[Output]:
        for kind, below in paths.output_folders(self._spec):
            for output in walk(self._folder, kind, below, self._findings):
                # Walked to the end all the same: the log's name depends on what there is.
                enough = len(self._refused) + len(self._sick) >= _BAD
                if not enough and (output.kind, output.path) not in self._done:
                    yield output

    def _file(self, output: Output, stop: Stop) -> None:
        began = time.monotonic()
        try:
            fd = self._opened(output)
        except FileNotFoundError:
            return
        except OSError:
            self._findings.unreadable.append(output.path)
            return
        if fd is None:
            self._findings.skipped.append(output.path)
            return
        try:
            if os.fstat(fd).st_size >= SMALL:
                self._batch.flush()
            share = self._meter.share()
            size = self._sender.send(output, lambda: [(fd, 0, os.fstat(fd).st_size)], share, stop)
        except JobFailed as error:
            self._refused.append(error)
            return
        except Sick as error:
            self._sick[output.path] = error
            return
        finally:
            os.close(fd)
        self._batch.add(self._taken(output, size, began))
        if size >= SMALL:
            self._batch.flush()

    def log(self, log: Log) -> str:
        """Read the log to its end and upload it, if it is wanted. Returns its last lines."""
        with Spool(spool_path(self._folder), log.cap, log.stays) as spool:
            spool.take(log.pieces, self._transfer.stop)
            failpoint("upload.log-spooled")
            if log.wanted:
                self._send_log(spool, self._log_output(log.name), log.on_whole)
            return spool.last_lines()

    def _send_log(
        self, spool: Spool, output: Output, on_whole: Callable[[StoredFile], object] | None
    ) -> None:
        began = time.monotonic()
        if spool.lost:
            _log.warning("log.shortened", extra={"job_id": self._spec.id, "lost_bytes": spool.lost})
        if (output.kind, output.path) not in self._done:
            self._meter.plan(1)
            self._meter.expect(spool.size)
            try:
                size = self._sender.send(output, spool.spans, self._meter.share(), self._transfer.stop)
            except JobFailed as error:
                self._refused.append(error)
                return
            self._log_taken = True
            whole = self._taken(output, size, began)
            if on_whole is None:
                self._batch.add(whole)
                self._batch.flush()
            else:
                on_whole(whole)

    def report(self) -> None:
        """Log what was left out. Raises ``JobFailed`` or ``Paused`` if some of it should not have been."""
        if skipped := self._findings.skipped:
            _log.warning(
                "upload.skipped",
                extra={"job_id": self._spec.id, "count": len(skipped), "paths": skipped[:_SHOWN]},
            )
        if self._sick:
            raise SetAside(self._sick) if self._log_taken else next(iter(self._sick.values()))
        if refused := self._refused:
            others = f" So it is with {len(refused) - 1} more." if len(refused) > 1 else ""
            raise JobFailed(f"{refused[0]}{others}") from refused[0]
        if unreadable := self._findings.unreadable:
            named = ", ".join(repr(path) for path in unreadable[:3])
            more = f" and {len(unreadable) - 3} more" if len(unreadable) > 3 else ""
            raise JobFailed(
                f"The worker may not read the job's output {named}{more}; "
                "all other output was uploaded. Let the job make its files readable."
            )

    def _opened(self, output: Output) -> int | None:
        """A descriptor of the file; None if it is no regular file any more."""
        with opened(self._folder, output.parts[:-1]) as folder:
            fd = open_file(folder, output.parts[-1])
        if stat.S_ISREG(os.fstat(fd).st_mode):
            return fd
        os.close(fd)
        return None

    def _log_output(self, name: str) -> Output:
        """Where the container's log goes: never over a file of that name that the job wrote itself."""
        folders = self._spec.handler.files_up or {}
        below = paths.inside(folders.get(FileType.LOG, "log"), "output folder").parts
        stem, dot, ending = name.rpartition(".")
        number, output = 0, Output("log", (*below, name))
        while (output.kind, output.base_path, output.name) in self._findings.names:
            number += 1
            numbered = f"{stem}-{number}{dot}{ending}" if dot else f"{name}-{number}"
            output = Output("log", (*below, numbered))
        return output

    def _taken(self, output: Output, size: int, began: float) -> StoredFile:
        """The API has the file."""
        seconds = time.monotonic() - began
        level = logging.INFO if size >= SMALL else logging.DEBUG
        _log.log(level, "upload.finished", extra={"path": output.path, "bytes": size, "seconds": seconds})
        self._meter.file_done()
        return StoredFile(direction="up", kind=output.kind, path=output.path, size=size, seconds=seconds)

    def _record(self, files: list[StoredFile]) -> None:
        self._transfer.on_whole(files)
        for _ in files:
            failpoint("upload.recorded")
