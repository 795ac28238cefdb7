"""Receives one input file: asks for its request, judges the answer, continues what broke off."""

import logging
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

import urllib3

from jobfetcher.api import errors
from jobfetcher.api.retries import RetryingApi, pause
from jobfetcher.failpoints import failpoint
from jobfetcher.transfer.batch import SMALL
from jobfetcher.transfer.course import Course
from jobfetcher.transfer.gaps import Range
from jobfetcher.transfer.hands import Hands
from jobfetcher.transfer.part import Part, not_downloaded, verdict
from jobfetcher.transfer.pool import Pool
from jobfetcher.transfer.ranges import Ranges
from jobfetcher.transfer.request import Requests
from jobfetcher.transfer.worth import Terms
from states.errors import JobFailed, Paused, StepEnd
from states.ports import FileRequest, Stop, StoredFile

log = logging.getLogger(__name__)

PIECE = 256 * 1024
"""Bytes received at a time. A few of them wait to be hashed, for each of the files side by side."""


class _Refused(Exception):
    """The server does not accept this URL (any more): ask for another one, once."""

    used = False
    """It did before."""


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
    """Receives input files of one job. ``api`` and ``stop`` end together.

    ``hands`` are the connections that have nothing else to do.
    """

    def __init__(self, api: RetryingApi, pool: Pool, stop: Stop, hands: Hands, terms: Terms) -> None:
        self.api = api
        self.pool = pool
        self.stop = stop
        self.hands = hands
        self.terms = terms

    def receive(self, file_id: str, part: Part, course: Course) -> Received:
        """Receive the file and flush it to disk. Raises ``JobFailed``, ``JobGone`` or ``Paused``."""
        download = _Download(self, file_id, part, course)
        received = download.run()
        self.hands.file_ended(download)
        return received


class _Download:
    """One input file."""

    def __init__(self, receiver: Receiver, file_id: str, part: Part, course: Course) -> None:
        self._api = receiver.api
        self._pool = receiver.pool
        self._stop = receiver.stop
        self._hands = receiver.hands
        self._terms = receiver.terms
        self._file_id = file_id
        self._requests = Requests()
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

    @property
    def shared(self) -> int:
        return self._ranges.shared

    def lend(self) -> bool:
        """Receive one range. What becomes of the file is decided by its own thread alone."""
        taken = self._ranges.take(hand=True)
        if taken is None:
            return False
        try:
            return self._lend(taken)
        except Exception as error:  # it is raised again by the file's own thread
            self._ranges.fail(error)
            return False

    def _lend(self, taken: Range) -> bool:
        blame = False
        try:
            request = self._requests.get_at_once(self._ask_once)
            if request is None:
                return False
            self._receive(taken, request, self._accept_range)
        except _Refused as error:
            blame = not error.used
        except (_Broken, StepEnd) as error:
            blame = taken.place != taken.limit  # some servers send less than is asked for, and say so
            log.info("download.range-broke-off", extra={"path": self._path, "reason": str(error)})
        finally:
            self._ranges.give_back(taken, blame)
        return not blame

    def _received(self) -> tuple[int, str]:
        with self._part:
            self._ranges = Ranges(
                self._part,
                self._course,
                self._stop,
                lambda: self._hands.count,
                lambda: self._hands.offer(self),
                self._terms,
            )
            self._course.found(self._part.size)
            try:
                self._receive_all()
            finally:
                self._ranges.close()
            return self._part.size, self._part.finish()

    def _receive_all(self) -> None:
        """Try until the file is whole. Bytes further on than ever count as progress: the tries begin anew."""
        delays, failures, refused = self._api.policy.backoff(), 0, False
        furthest = self._ranges.received
        while not self._ranges.whole:
            self._stop.check()
            try:
                self._receive_next()
            except (_Refused, _Broken) as error:
                self._stop.check()
                if self._ranges.received > furthest:
                    furthest, failures, refused = self._ranges.received, 0, False
                    delays.reset()
                if isinstance(error, _Refused):
                    if refused:
                        raise self._failed(str(error)) from error
                    refused = True
                    continue
                self._requests.forget()
                failures += 1
                # A storage that is sick for a minute must not fail a job.
                if failures >= self._api.policy.tries * (2 if isinstance(error, _Sick) else 1):
                    raise self._given_up(error) from error
                log.warning("download.retried", extra={"path": self._path, "reason": str(error)})
                pause(self._stop, next(delays))

    def _receive_next(self) -> None:
        taken = self._ranges.take()
        if taken is None:
            return self._ranges.wait()
        try:
            self._receive(taken, self._requests.get(self._ask), self._accept)
        finally:
            self._ranges.give_back(taken)

    def _receive(
        self, taken: Range, request: FileRequest, accept: Callable[[urllib3.BaseHTTPResponse, Range], None]
    ) -> None:
        if taken.halt.is_set():
            return
        headers = {**request.headers, "Accept-Encoding": "identity", **self._ranges.asked(taken)}
        try:
            with (
                self._stop.interrupts(taken.halt.set),
                self._pool.get(request.method, request.url, headers, taken.halt) as response,
            ):
                if not self._ends_here(response, taken):
                    accept(response, taken)
                    self._requests.accepted(request)
                    self._pump(response, taken)
            self._ranges.ended(taken)
        except _Refused as error:
            error.used = self._requests.forget(request)
            raise
        except urllib3.exceptions.HTTPError as error:
            if not taken.lost:
                raise _Broken(errors.excerpt(type(error).__name__)) from error
        if not taken.done:
            raise _Broken("the server ends before the end")

    def _ask_once(self) -> FileRequest:
        """For somebody else's thread: whether it is worth waiting for the API is not its to decide."""
        try:
            return self._api.bare.download_request(self._file_id)
        except errors.ApiError as error:
            raise _Broken(errors.excerpt(type(error).__name__)) from error

    def _ask(self) -> FileRequest:
        try:
            return self._api.download_request(self._file_id)
        except errors.NotFound as error:
            raise self._failed("the server says it is not there (404)") from error
        except errors.ApiAnswer as error:
            raise self._failed(f"the server answers {error.status}") from error

    def _accept(self, response: urllib3.BaseHTTPResponse, taken: Range) -> None:
        """Get the part ready for the body that follows, or say why there is none."""
        status = response.status
        if status == 200:
            self._ranges.restart(taken, _strong_etag(response))
        elif status == 206 and self._continues(response, taken):
            pass
        elif status in (206, 416) and self._ranges.received:
            self._ranges.restart(taken)
            raise _Broken("the server cannot continue the file")
        else:
            self._refuse(response)
        allowed = bool(self._part.etag) and (
            status == 206 or response.headers.get("Accept-Ranges", "").lower() == "bytes"
        )
        self._ranges.answered(taken, _whole_size(response), _ends_at(response), allowed)

    def _accept_range(self, response: urllib3.BaseHTTPResponse, taken: Range) -> None:
        """The same for one range of several."""
        if response.status not in (200, 206, 416):
            self._refuse(response)
        if response.status != 206 or "ETag" not in response.headers or not self._continues(response, taken):
            raise _Broken("the server does not send what was asked for")
        taken.limit = _ends_at(response)

    def _refuse(self, response: urllib3.BaseHTTPResponse) -> NoReturn:
        status = response.status
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

    def _ends_here(self, response: urllib3.BaseHTTPResponse, taken: Range) -> bool:
        """A 416 to a conditional request that begins at the very end: it had arrived before."""
        length = re.search(r"\*/(\d+)", response.headers.get("Content-Range", ""))
        arrived = taken.place
        return response.status == 416 and bool(arrived) and length is not None and int(length[1]) == arrived

    def _continues(self, response: urllib3.BaseHTTPResponse, taken: Range) -> bool:
        same = response.headers.get("ETag", self._part.etag) == self._part.etag
        total = _whole_size(response)
        as_long = self._ranges.total is None or total in (None, self._ranges.total)
        return same and as_long and not _is_encoded(response) and _starts_at(response) == taken.place

    def _pump(self, response: urllib3.BaseHTTPResponse, taken: Range) -> None:
        encoded = _is_encoded(response)  # stored so, and sent so whatever we ask for
        while not taken.done and (piece := response.read(PIECE, decode_content=encoded)):
            self._ranges.write(taken, piece)
            failpoint("download.part-written")
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


def _ends_at(response: urllib3.BaseHTTPResponse) -> int | None:
    """Where the body ends in the file, if the answer tells."""
    last = re.match(r"bytes\s+\d+-(\d+)", response.headers.get("Content-Range", ""))
    return int(last[1]) + 1 if last else _whole_size(response)


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
