"""Brings a job's input files into its folder.

A file is there in whole or not at all: it is written beside the folder, checked, flushed to disk and
then moved. What a broken connection or a crash left is continued, if it is still the same file.
"""

import logging
import os
import re
import time
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath

import urllib3

from jobfetcher.api import errors
from jobfetcher.api.retries import NEVER, Policy, RetryingApi, pause
from jobfetcher.failpoints import failpoint
from jobfetcher.transfer.crew import side_by_side
from jobfetcher.transfer.folders import FULL, IN_THE_WAY, size_of
from jobfetcher.transfer.part import Part, parts_folder, remove_parts
from jobfetcher.transfer.pool import BLOCK, INACTIVITY_SECONDS, Pool
from states import paths
from states.errors import JobFailed, Paused
from states.ports import Api, FileRequest, Stop, StoredFile
from states.spec import JobSpec

log = logging.getLogger(__name__)

OnDone = Callable[[StoredFile], None]
OnProgress = Callable[[str, int], None]
"""Called with a file's path and the number of its bytes that are here."""


def download_inputs(
    api: Api,
    spec: JobSpec,
    folder: Path,
    *,
    stop: Stop = NEVER,
    connections: int = 8,
    done: Iterable[StoredFile] = (),
    on_done: OnDone = lambda _: None,
    on_progress: OnProgress = lambda _path, _size: None,
    policy: Policy | None = None,
    inactivity: float = INACTIVITY_SECONDS,
) -> None:
    """Download every input of the job into ``folder``, ``connections`` at a time.

    Files of ``done`` that are there with their size are left out; ``on_done`` is called, from any
    thread, once a file is safe on disk. ``inactivity`` is the longest silence of a server, in seconds.
    Raises ``JobFailed`` with a sentence if an input cannot be had, and ``Paused`` if it can perhaps be
    had later; then what is there already is continued by the next call.
    """
    wanted = paths.inputs(spec)
    sizes = {file.path: file.size for file in done if file.direction == "down"}
    missing = [
        (path, file_id)
        for path, file_id in wanted.items()
        if str(path) not in sizes or size_of(folder, path.parts) != sizes[str(path)]
    ]
    if not missing:
        return remove_parts(folder)
    parts_folder(folder).mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.mkdir(parents=True, exist_ok=True)
    with Pool(connections, inactivity) as pool:

        def fetch(item: tuple[PurePosixPath, str], halt: Stop) -> None:
            path, file_id = item
            part = Part(folder, path.parts)
            download = _Download(RetryingApi.over(api, policy, halt), pool, halt, file_id, path, part)
            on_done(download.run(lambda size: on_progress(str(path), size)))
            failpoint("download.recorded")

        try:
            side_by_side(fetch, missing, min(connections, len(missing)), stop)
        except JobFailed:
            remove_parts(folder)
            raise
    return remove_parts(folder)


class _Refused(Exception):
    """The server does not accept this URL (any more): ask for another one, once."""


class _Broken(Exception):
    """The transfer did not come to its end; another try may."""


class _Sick(_Broken):
    """The server says 500 to this very file."""


class _Download:
    """One input file."""

    def __init__(
        self, api: RetryingApi, pool: Pool, stop: Stop, file_id: str, path: PurePosixPath, part: Part
    ) -> None:
        self._api = api
        self._pool = pool
        self._stop = stop
        self._file_id = file_id
        self._path = str(path)
        self._part = part

    def run(self, progress: Callable[[int], None]) -> StoredFile:
        began = time.monotonic()
        try:
            placed = self._part.placed_before()
            if placed is None:
                with self._part:
                    self._receive_all(progress)
                    placed = self._part.size, self._part.place()
        except OSError as error:
            raise self._verdict(error) from error
        seconds = time.monotonic() - began
        log.info("download.finished", extra={"path": self._path, "bytes": placed[0], "seconds": seconds})
        return StoredFile(
            direction="down", kind="input", path=self._path, size=placed[0], sha256=placed[1], seconds=seconds
        )

    def _receive_all(self, progress: Callable[[int], None]) -> None:
        """Try until the file is whole. Bytes further on than ever count as progress: the tries begin anew."""
        delays, failures, refused = self._api.policy.backoff(), 0, False
        furthest = self._part.size
        while not self._part.whole:
            self._stop.check()
            try:
                self._receive(progress)
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
                if failures >= self._api.policy.tries:
                    raise self._given_up(error) from error
                log.warning("download.retried", extra={"path": self._path, "reason": str(error)})
                pause(self._stop, next(delays))

    def _receive(self, progress: Callable[[int], None]) -> None:
        request = self._ask()
        headers = {**request.headers, "Accept-Encoding": "identity"}
        tag = self._part.etag
        if self._part.size and tag:
            headers |= {"Range": f"bytes={self._part.size}-", "If-Range": tag}
        try:
            with self._pool.get(request.method, request.url, headers, self._stop) as response:
                if not self._ends_here(response):
                    self._accept(response)
                    self._pump(response, progress)
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

    def _pump(self, response: urllib3.BaseHTTPResponse, progress: Callable[[int], None]) -> None:
        encoded = response.headers.get("Content-Encoding", "identity").lower() not in ("identity", "")
        buffer = bytearray(BLOCK)
        view = memoryview(buffer)
        while True:
            if encoded:  # stored so, and sent so whatever we ask for
                view = memoryview(response.read(BLOCK, decode_content=True))
                count = len(view)
            else:
                count = response.readinto(buffer)
            if not count:
                return
            self._part.write(view[:count])
            failpoint("download.part-written")
            progress(self._part.size)
            if self._stop.is_set():
                self._stop.check()

    def _given_up(self, error: _Broken) -> Exception:
        if isinstance(error, _Sick):
            return self._failed(str(error))
        return Paused(f"The input file {self._path!r} cannot be downloaded now: {error}.")

    def _failed(self, why: str) -> JobFailed:
        return JobFailed(f"The input file {self._path!r} cannot be downloaded: {why}.")

    def _verdict(self, error: OSError) -> Exception:
        if error.errno in FULL:
            return self._failed("there is no space left on the worker's disk")
        if error.errno in IN_THE_WAY:
            return self._failed(f"something else is in its place ({os.strerror(error.errno or 0)})")
        return error


def _starts_at(response: urllib3.BaseHTTPResponse) -> int | None:
    found = re.match(r"bytes\s+(\d+)-", response.headers.get("Content-Range", ""))
    return int(found[1]) if found else None


def _strong_etag(response: urllib3.BaseHTTPResponse) -> str:
    """The ETag, if the body may be continued by it: neither weak nor of encoded content."""
    tag = response.headers.get("ETag", "")
    plain = response.headers.get("Content-Encoding", "identity").lower() in ("identity", "")
    return tag if tag.startswith('"') and plain else ""
