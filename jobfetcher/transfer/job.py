"""The two transfers as the machine's steps use them: what is done is kept in the store."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from jobfetcher.api.retries import Policy
from jobfetcher.room import Room
from jobfetcher.transfer.download import fetch_inputs
from jobfetcher.transfer.options import Transfer
from jobfetcher.transfer.pool import INACTIVITY_SECONDS, STALL_SECONDS
from jobfetcher.transfer.spool import CAP
from jobfetcher.transfer.upload import Log, SetAside, send_outputs
from states.errors import JobFailed
from states.job import Job
from states.ports import Api, Stop, Store, StoredFile, Uploaded

PATIENCE_SECONDS = 2 * 3600.0
"""How long a storage may answer 500 to one output while it takes the job's log, each time."""


class JobTransfers:
    """``states.ports.Transfers`` over the API. What the store has as done is not moved again.

    ``room`` is the disk that downloads must not fill. A download that is silent for ``stall`` seconds is
    broken off and goes on from where it was; an upload would begin anew, and may be silent for
    ``inactivity`` seconds.
    """

    def __init__(
        self,
        api: Api,
        store: Store,
        *,
        connections: int = 8,
        policy: Policy | None = None,
        inactivity: float = INACTIVITY_SECONDS,
        stall: float = STALL_SECONDS,
        log_cap: int = CAP,
        with_log: bool = True,
        room: Room | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api = api
        self._store = store
        self._connections = connections
        self._policy = policy
        self._inactivity = {"down": stall, "up": inactivity}
        self._log_cap = log_cap
        self._with_log = with_log
        self._room = room
        self._clock = clock
        self._sick: dict[str, dict[str, float]] = {}
        """Since when which outputs of which run are answered with a 500, without a break."""

    def download(self, job: Job, folder: Path, stop: Stop) -> None:
        """Bring all inputs of the job into ``folder``."""
        fetch_inputs(self._api, job.spec, folder, self._transfer(job, "down", stop), room=self._room)

    def upload(self, job: Job, folder: Path, log: Iterator[bytes], stop: Stop) -> Uploaded:
        """Upload all outputs, then ``log`` as the container's log (unless made ``with_log=False``).

        An output that the storage does not take for ``PATIENCE_SECONDS``, while it takes the log, fails the
        job.
        """
        taken: list[StoredFile] = []
        kept = Log(log, cap=self._log_cap, wanted=self._with_log, stays=True, on_whole=taken.append)
        since = self._sick.pop(job.run_name, {})
        try:
            try:
                lines = send_outputs(self._api, job.spec, folder, self._transfer(job, "up", stop), kept)
            except SetAside as sick:
                self._sick[job.run_name] = self._still(sick, since)
                raise
        except JobFailed:
            if taken:
                self._store.record_files(job, taken)
            raise
        return Uploaded(lines, tuple(taken))

    def _still(self, sick: SetAside, since: Mapping[str, float]) -> dict[str, float]:
        """Since when each of the outputs is not taken. Raises ``JobFailed`` if that is too long."""
        now = self._clock()
        still = {path: since.get(path, now) for path in sick.paths}
        for path, first in still.items():
            if now - first >= PATIENCE_SECONDS:
                raise JobFailed(
                    f"The output {path!r} cannot be uploaded: the storage answers 500 to it again and again, "
                    "while it takes the job's log."
                ) from sick
        return still

    def upload_again(self, job: Job, folder: Path, done: list[StoredFile], stop: Stop) -> None:
        """Upload the outputs that are not in ``done``, without the container's log; adds each to ``done``.

        For a job that has ended: its container, and with it the log, may be gone.
        """

        def record(files: Sequence[StoredFile]) -> None:
            self._store.record_files(job, files)
            done.extend(files)

        options = replace(self._transfer(job, "up", stop), done=tuple(done), on_whole=record)
        send_outputs(self._api, job.spec, folder, options)

    def _transfer(self, job: Job, direction: str, stop: Stop) -> Transfer:
        def record(files: Sequence[StoredFile]) -> None:
            self._store.record_files(job, files)

        return Transfer(
            stop=stop,
            connections=self._connections,
            done=self._store.files(job, direction),
            on_whole=record,
            policy=self._policy,
            inactivity=self._inactivity[direction],
        )
