"""The two transfers as the machine's steps use them: what is done is kept in the store."""

from collections.abc import Callable, Iterator
from pathlib import Path

from jobfetcher.api.retries import Policy
from jobfetcher.transfer.download import download_inputs
from jobfetcher.transfer.pool import INACTIVITY_SECONDS
from jobfetcher.transfer.spool import CAP
from jobfetcher.transfer.upload import upload_outputs
from states.job import Job
from states.ports import Api, Stop, Store, StoredFile


class JobTransfers:
    """``states.ports.Transfers`` over the API. What the store has as done is not moved again."""

    def __init__(
        self,
        api: Api,
        store: Store,
        *,
        connections: int = 8,
        policy: Policy | None = None,
        inactivity: float = INACTIVITY_SECONDS,
        log_cap: int = CAP,
        with_log: bool = True,
    ) -> None:
        self._api = api
        self._store = store
        self._connections = connections
        self._policy = policy
        self._inactivity = inactivity
        self._log_cap = log_cap
        self._with_log = with_log

    def download(self, job: Job, folder: Path, stop: Stop) -> None:
        """Bring all inputs of the job into ``folder``."""
        download_inputs(
            self._api,
            job.spec,
            folder,
            stop=stop,
            connections=self._connections,
            done=self._store.files(job, "down"),
            on_done=self._recorder(job),
            policy=self._policy,
            inactivity=self._inactivity,
        )

    def upload(self, job: Job, folder: Path, log: Iterator[bytes], stop: Stop) -> str:
        """Upload all outputs, then ``log`` as the container's log (unless made ``with_log=False``).

        Returns the log's last lines.
        """
        return upload_outputs(
            self._api,
            job.spec,
            folder,
            stop=stop,
            connections=self._connections,
            done=self._store.files(job, "up"),
            on_done=self._recorder(job),
            log=log,
            log_cap=self._log_cap,
            with_log=self._with_log,
            policy=self._policy,
            inactivity=self._inactivity,
        )

    def _recorder(self, job: Job) -> Callable[[StoredFile], None]:
        return lambda file: self._store.record_file(job, file)
