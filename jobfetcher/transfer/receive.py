"""Receives one input file: asks for its request, judges the answer, continues what broke off."""

import logging
import re
import time
from dataclasses import dataclass

import urllib3

from jobfetcher.api import errors
from jobfetcher.api.retries import RetryingApi, pause
from jobfetcher.failpoints import failpoint
from jobfetcher.transfer.batch import SMALL
from jobfetcher.transfer.course import Course
from jobfetcher.transfer.part import Part, not_downloaded, verdict
from jobfetcher.transfer.pool import Pool
from states.errors import JobFailed, Paused
from states.ports import FileRequest, Stop, StoredFile

log = logging.getLogger(__name__)

PIECE = 256 * 1024
"""Bytes received at a time. A few of them wait to be hashed, for each of the files side by side."""


class _Refused(Exception):
    """The server does not accept this URL (any more): ask for another one, once."""


class _Broken(Exception):
    """The transfer did not come to its end; another try may."""


class _Sick(_Broken):
    """The server says 500 to this very file."""


@dataclass(frozen=True)
class Received:
    """A whole file."""

    part: Part
    stored: StoredFile
    placed: bool
    """It is in its place, and not only ready for it."""


class Receiver:
    """Receives input files of one job. ``api`` and ``stop`` end together."""

    def __init__(self, api: RetryingApi, pool: Pool, stop: Stop) -> None:
        self.api = api
        self.pool = pool
        self.stop = stop

    def receive(self, file_id: str, part: Part, course: Course) -> Received:
        """Receive the file and flush it to disk. Raises ``JobFailed``, ``JobGone`` or ``Paused``."""
        return _Download(self, file_id, part, course).run()


class _Download:
    """One input file."""

    def __init__(self, receiver: Receiver, file_id: str, part: Part, course: Course) -> None:
        self._api = receiver.api
        self._pool = receiver.pool
        self._stop = receiver.stop
        self._file_id = file_id
        self._path = part.path
        self._part = part
        self._course = course

    def run(self) -> Received:
        began = time.monotonic()
        try:
            placed = self._part.placed_before()
            size, sha256 = placed or self._received()
        except OSError as error:
            raise verdict(self._path, error) from error
        if placed:
            self._course.found(size)
        self._course.whole()
        seconds = time.monotonic() - began
        level = logging.INFO if size >= SMALL else logging.DEBUG
        log.log(level, "download.finished", extra={"path": self._path, "bytes": size, "seconds": seconds})
        stored = StoredFile(
            direction="down", kind="input", path=self._path, size=size, sha256=sha256, seconds=seconds
        )
        return Received(self._part, stored, placed is not None)

    def _received(self) -> tuple[int, str]:
        with self._part:
            self._course.found(self._part.size)
            self._receive_all()
            return self._part.size, self._part.finish()

    def _receive_all(self) -> None:
        """Try until the file is whole. Bytes further on than ever count as progress: the tries begin anew."""
        delays, failures, refused = self._api.policy.backoff(), 0, False
        furthest = self._part.size
        while not self._part.whole:
            self._stop.check()
            try:
                self._receive()
            except _Refused as error:
                if refused:
                    raise self._failed(str(error)) from error
                refused = True
            except _Broken as error:
                self._stop.check()
                if self._part.size > furthest:
                    furthest, failures, refused = self._part.size, 0, False
                    delays.reset()
                failures += 1
                # A storage that is sick for a minute must not fail a job.
                if failures >= self._api.policy.tries * (2 if isinstance(error, _Sick) else 1):
                    raise self._given_up(error) from error
                log.warning("download.retried", extra={"path": self._path, "reason": str(error)})
                pause(self._stop, next(delays))

    def _receive(self) -> None:
        request = self._ask()
        headers = {**request.headers, "Accept-Encoding": "identity"}
        tag = self._part.etag
        if self._part.size and tag:
            headers |= {"Range": f"bytes={self._part.size}-", "If-Range": tag}
        try:
            with self._pool.get(request.method, request.url, headers, self._stop) as response:
                if not self._ends_here(response):
                    self._accept(response)
                    self._course.answered(_whole_size(response), self._part.size, self._stop)
                    self._pump(response)
            self._part.whole = True
        except urllib3.exceptions.HTTPError as error:
            raise _Broken(errors.excerpt(type(error).__name__)) from error

    def _ask(self) -> FileRequest:
        try:
            return self._api.download_request(self._file_id)
        except errors.NotFound as error:
            raise self._failed("the server says it is not there (404)") from error
        except errors.ApiAnswer as error:
            raise self._failed(f"the server answers {error.status}") from error

    def _accept(self, response: urllib3.BaseHTTPResponse) -> None:
        """Get the part ready for the body that follows, or say why there is none."""
        status = response.status
        if status == 206 and self._continues(response):
            return
        if status == 200:
            self._part.restart(_strong_etag(response))
            return
        if status in (206, 416) and self._part.size:
            self._part.restart()
            raise _Broken("the server cannot continue the file")
        body = response.read(4096).decode("utf-8", "replace")
        if status in (401, 403) or (status == 400 and "Expired" in body):
            raise _Refused(f"the server refuses it ({status})")
        if status in (404, 410):
            raise self._failed(f"the server says it is not there ({status})")
        if status == 500:
            raise _Sick("the server answers 500 to it again and again")
        if status == 429 or status > 500:
            raise _Broken(f"the server answers {status}")
        raise self._failed(f"the server answers {status}")

    def _ends_here(self, response: urllib3.BaseHTTPResponse) -> bool:
        """A 416 to a conditional request that begins at the very end: it had arrived before."""
        length = re.search(r"\*/(\d+)", response.headers.get("Content-Range", ""))
        arrived = self._part.size
        return response.status == 416 and bool(arrived) and length is not None and int(length[1]) == arrived

    def _continues(self, response: urllib3.BaseHTTPResponse) -> bool:
        same = response.headers.get("ETag", self._part.etag) == self._part.etag
        return same and _starts_at(response) == self._part.size

    def _pump(self, response: urllib3.BaseHTTPResponse) -> None:
        encoded = _is_encoded(response)  # stored so, and sent so whatever we ask for
        while piece := response.read(PIECE, decode_content=encoded):
            self._part.write(piece)
            failpoint("download.part-written")
            self._course.at(self._part.size)
            if self._stop.is_set():
                self._stop.check()

    def _given_up(self, error: _Broken) -> Exception:
        if isinstance(error, _Sick):
            return self._failed(str(error))
        return Paused(f"The input file {self._path!r} cannot be downloaded now: {error}.")

    def _failed(self, why: str) -> JobFailed:
        return not_downloaded(self._path, why)


def _starts_at(response: urllib3.BaseHTTPResponse) -> int | None:
    found = re.match(r"bytes\s+(\d+)-", response.headers.get("Content-Range", ""))
    return int(found[1]) if found else None


def _strong_etag(response: urllib3.BaseHTTPResponse) -> str:
    """The ETag, if the body may be continued by it: neither weak nor of encoded content."""
    tag = response.headers.get("ETag", "")
    return tag if tag.startswith('"') and not _is_encoded(response) else ""


def _is_encoded(response: urllib3.BaseHTTPResponse) -> bool:
    return response.headers.get("Content-Encoding", "identity").lower() not in ("identity", "")


def _whole_size(response: urllib3.BaseHTTPResponse) -> int | None:
    """Bytes of the whole file, if the answer tells."""
    if _is_encoded(response):
        return None
    if response.status == 206:
        total = re.search(r"/(\d+)$", response.headers.get("Content-Range", ""))
        return int(total[1]) if total else None
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isdigit() else None
