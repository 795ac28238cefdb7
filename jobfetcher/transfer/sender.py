"""Sends one file into one of the API's folders, and decides what each refusal means.

The API describes the request for a folder once; it serves every file there until it is refused.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import urllib3

from jobfetcher.api import errors
from jobfetcher.api.client import retry_after
from jobfetcher.api.retries import LATER, NOT_LET_IN, Policy, asked_to_wait, pause
from jobfetcher.api.stretch import Shrunk
from jobfetcher.failpoints import failpoint
from jobfetcher.progress import Share
from jobfetcher.transfer.multipart import Multipart, Span
from jobfetcher.transfer.pool import Pool
from jobfetcher.transfer.tree import Output
from states.errors import JobFailed, JobGone, Paused
from states.ports import Api, FileRequest, Stop
from states.spec import FileType

log = logging.getLogger(__name__)

TAKEN = (200, 201, 204)
S3_LIMIT = 5 * 1024**3
"""Bytes that S3 takes by POST. It may break the connection off instead of saying so."""
KEY_LIMIT = 1024
"""Bytes of UTF-8 that S3 takes as an object's name."""
_OWN_NAME = "${filename}"
ASK_AFTER = 3
"""Failures in a row after which the API is asked whether the job is still there: for uploads of a
deleted job it answers 500, like for any trouble of its own."""


class NotTaken(Paused):
    """The API is there and answers for the job, but will not take its files now. So it is for good with a job
    that has ended and was deleted since; with a live one it will be heard of."""


class Sick(Paused):
    """The storage answers 500 to this very file, time after time."""


class _Refused(Exception):
    """The storage does not accept this request (any more): ask for another one, once."""


class _Failed(Exception):
    """It may work later."""

    def __init__(self, why: str, retry_after: float | None = None, kind: type[Paused] = Paused) -> None:
        super().__init__(why)
        self.retry_after = retry_after
        self.kind = kind
        """What it is called when the tries are used up."""


@dataclass
class _Folder:
    """The request for one (type, base path), shared by all threads."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    request: FileRequest | None = None


class Sender:
    """Uploads files of one job. Safe from any thread."""

    def __init__(self, api: Api, job_id: str, pool: Pool, policy: Policy) -> None:
        self._api = api
        self._job_id = job_id
        self._pool = pool
        self._policy = policy
        self._lock = threading.Lock()
        self._folders: dict[tuple[str, str], _Folder] = {}

    def send(self, output: Output, spans: Callable[[], Sequence[Span]], share: Share, stop: Stop) -> int:
        """Upload what ``spans`` names as ``output``; return the number of its bytes once it is taken.

        ``share`` hears how far it is.

        Raises ``JobFailed``, ``JobGone`` or ``Paused``; ``Sick`` where the storage can be asked for others.
        """
        delays, failures, refused, answers = self._policy.backoff(), 0, False, False
        while True:
            stop.check()
            try:
                return self._post(output, spans(), share, stop)
            except _Refused as error:
                if refused:
                    raise self._never(output, str(error)) from error
                refused = True
            except _Failed as error:
                stop.check()
                failures += 1
                log.warning("upload.retried", extra={"job_id": self._job_id, "reason": str(error)})
                if failures >= ASK_AFTER:
                    answers = self._confirm()
                if failures >= self._policy.tries:
                    why = f"The output {output.path!r} cannot be uploaded now: {error}."
                    kind = NotTaken if answers and _is_no(error.__cause__) else error.kind
                    raise kind(why, error.retry_after) from error
                pause(stop, max(next(delays), asked_to_wait(error)))

    def _post(self, output: Output, spans: Sequence[Span], share: Share, stop: Stop) -> int:
        folder = self._folder(output)
        request = self._request(folder, output)
        if _is_s3(request) and _key_bytes(request.data.get("key", ""), output) > KEY_LIMIT:
            raise self._never(output, f"with its folders its name is longer than the {KEY_LIMIT} bytes of S3")
        share.at(0)
        body = Multipart(request.data, output.name, spans, share.at)
        headers = {name: value for name, value in request.headers.items() if name.lower() != "content-type"}
        headers |= {"Content-Type": body.content_type, "Content-Length": str(body.length)}
        failpoint("upload.before-post")
        try:
            with self._pool.post(request.method, request.url, headers, body, stop) as response:
                self._judge(response, output)
        except (_Refused, _Failed):
            self._forget(folder, request)
            raise
        except Shrunk as error:
            raise _Failed("it changed while it was read") from error
        except urllib3.exceptions.HTTPError as error:
            self._forget(folder, request)
            if body.length > S3_LIMIT and _is_s3(request):
                raise self._never(output, "it is larger than the 5 GB that S3 takes") from error
            raise _Failed(f"the connection broke off ({type(error).__name__})") from error
        failpoint("upload.after-post")
        return sum(length for _, _, length in spans)

    def _judge(self, response: urllib3.BaseHTTPResponse, output: Output) -> None:
        status = response.status
        if status in TAKEN:
            return
        body = response.read(8192, decode_content=True).decode("utf-8", "replace")
        if status == 413 or "EntityTooLarge" in body:
            raise self._never(output, "it is larger than the storage takes (5 GB with S3)")
        if status == 429 or status >= 500:
            kind = Sick if status == 500 else Paused
            raise _Failed(f"the storage answers {status}", _seconds(response), kind)
        if status in (400, 401, 403):
            raise _Refused(f"the storage refuses it ({status}: {errors.excerpt(body)})")
        if status == 404:
            self._confirm()
        raise self._never(output, f"the storage answers {status}")

    def _request(self, folder: _Folder, output: Output) -> FileRequest:
        with folder.lock:
            if folder.request is None:
                folder.request = self._ask(output)
            return folder.request

    def _ask(self, output: Output) -> FileRequest:
        try:
            return self._api.upload_request(self._job_id, FileType(output.kind), output.base_path)
        except LATER as error:
            raise _Failed(str(error).rstrip("."), asked_to_wait(error) or None) from error
        except NOT_LET_IN as error:
            raise Paused(str(error)) from error
        except errors.ApiAnswer as error:
            if error.status == 404:
                self._confirm()
            raise self._never(output, f"the API answers {error.status}") from error

    def _confirm(self) -> bool:
        """Ask whether the job is still known; ``JobGone`` if not. False: no answer, which proves nothing."""
        try:
            self._api.job_status(self._job_id)
        except errors.NotFound as error:
            raise JobGone(f"The API does not know the job {self._job_id} any more.") from error
        except errors.ApiError as error:
            log.warning("upload.status-unknown", extra={"job_id": self._job_id, "reason": str(error)})
            return False
        return True

    def _folder(self, output: Output) -> _Folder:
        with self._lock:
            return self._folders.setdefault((output.kind, output.base_path), _Folder())

    def _forget(self, folder: _Folder, request: FileRequest) -> None:
        with folder.lock:
            if folder.request is request:
                folder.request = None

    def _never(self, output: Output, why: str) -> JobFailed:
        return JobFailed(f"The output {output.path!r} cannot be uploaded: {why}.")


def _is_no(error: BaseException | None) -> bool:
    """What the API itself answers for a job that is not ours any more; 502 to 504 are a proxy's."""
    return isinstance(error, errors.ServerError) and error.status == 500


def _is_s3(request: FileRequest) -> bool:
    return "policy" in {name.lower() for name in request.data}


def _key_bytes(key: str, output: Output) -> int:
    """Of the name that S3 makes of the request's key and the file's own name; 0 where it makes none."""
    return len(key.replace(_OWN_NAME, output.name).encode()) if _OWN_NAME in key else 0


def _seconds(response: urllib3.BaseHTTPResponse) -> float | None:
    return retry_after({name.lower(): value for name, value in response.headers.items()})
