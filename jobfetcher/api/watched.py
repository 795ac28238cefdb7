"""An ``Api`` with somebody who hears of each call whether it went well."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from jobfetcher.api.errors import ApiError
from jobfetcher.api.retries import LATER, NOT_LET_IN
from states.job import ApiStatus
from states.ports import Api, FileRequest, Resources
from states.spec import FileType, JobSpec


class WatchedApi:
    """``api``, calls and errors unchanged. ``on_call`` hears None after a call that the API answered
    sensibly (a 404 for a job is such an answer), else the error that is raised."""

    def __init__(self, api: Api, on_call: Callable[[ApiError | None], object]) -> None:
        self._api = api
        self._on_call = on_call

    def fetch_jobs(self, resources: Resources, limit: int = 1) -> list[JobSpec]:
        with self._heard():
            return self._api.fetch_jobs(resources, limit)

    def put_status(self, job_id: str, status: ApiStatus, detail: str = "") -> None:
        with self._heard():
            self._api.put_status(job_id, status, detail)

    def job_status(self, job_id: str) -> str:
        with self._heard():
            return self._api.job_status(job_id)

    def download_request(self, file_id: str) -> FileRequest:
        with self._heard():
            return self._api.download_request(file_id)

    def upload_request(self, job_id: str, kind: FileType, base_path: str) -> FileRequest:
        with self._heard():
            return self._api.upload_request(job_id, kind, base_path)

    @contextmanager
    def _heard(self) -> Iterator[None]:
        try:
            yield
        except (*LATER, *NOT_LET_IN) as error:
            self._on_call(error)
            raise
        except ApiError:
            self._on_call(None)
            raise
        self._on_call(None)
