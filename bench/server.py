"""The API with nothing but speed: a queue, statuses, and files straight from and to the kernel.

For rows that compare with curl, which gets the same server: the mock would be what is measured. Speaks as
much of HTTP as the worker and curl use, and knows when what came, by the monotonic clock.
"""

import contextlib
import json
import os
import socket
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import parse_qs, unquote, urlsplit

from bench.listening import Listening
from bench.measure import MIB

_HEAD_LIMIT = 64 * 1024
_END = b"\r\n\r\n"
_REASONS = {200: "OK", 201: "Created", 204: "No Content", 206: "Partial Content", 404: "Not Found"}


@dataclass
class _Request:
    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]


@dataclass
class FastApi(Listening):
    """A context manager. ``files`` are the inputs, by file id."""

    files: dict[str, Path] = field(default_factory=dict)
    cut_at: int = 0
    """After so many bytes the next whole download is cut off, once; 0: none is."""
    sent: list[int] = field(default_factory=list)
    """Bytes of each file's body that were sent."""
    seen_at: str = ""
    """Address that requests for files lead to; empty: this server's own."""
    _firsts: dict[tuple[str, str], float] = field(default_factory=dict)
    _lasts: dict[tuple[str, str], float] = field(default_factory=dict)
    _queue: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _submitted: int = 0

    def submit(self, cmd: str, **handler: dict[str, str]) -> str:
        """Queue a job and return its id."""
        self._submitted += 1
        job = str(self._submitted)
        spec = {
            "app": {"cmd": [cmd], "env": None},
            "handler": {"image_url": "none:latest", **handler},
            "meta": {"job_id": self._submitted, "date_created": "2020-01-01T00:00:00"},
            "hardware": {},
        }
        with self._changed:
            self._queue.append((job, spec))
        return job

    def wait(self, what: str, job: str = "", seconds: float = 300) -> float:
        """When that first came, of the job or at all; waits for it. Raises ``TimeoutError``.

        ``what`` is a status, ``asked`` (for a file's request), ``taken`` (a whole upload) or ``continued``
        (a download from somewhere in the file to its end).
        """
        with self._changed:
            if not self._changed.wait_for(lambda: (what, job) in self._firsts, seconds):
                raise TimeoutError(f"Waited {seconds:.0f} s in vain for {what!r} of job {job}.")
            return self._firsts[what, job]

    def first(self, what: str, job: str = "") -> float | None:
        """When that came first; None if it has not."""
        return self._firsts.get((what, job))

    def last(self, what: str, job: str = "") -> float:
        """When that came last, until now."""
        return self._lasts[what, job]

    def forget(self) -> None:
        """Forget what came when."""
        with self._changed:
            self._firsts.clear()
            self._lasts.clear()

    def mark(self, what: str, job: str = "") -> None:
        """It came now."""
        now = time.monotonic()
        with self._changed:
            for key in {(what, job), (what, "")}:
                self._lasts[key] = now
                if key not in self._firsts:
                    self._firsts[key] = now
                    self._changed.notify_all()

    def take(self) -> dict[str, Any]:
        """The oldest queued job."""
        with self._changed:
            return dict([self._queue.pop(0)]) if self._queue else {}

    def carry(self, connection: socket.socket) -> None:
        """Answer the requests on the connection until it is closed."""
        _Connection(self, connection).serve()


class _Connection:
    def __init__(self, api: FastApi, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._api = api
        self._socket = connection
        self._buffered = b""

    def serve(self) -> None:
        with self._socket, contextlib.suppress(ConnectionError):
            while (request := self._request()) is not None and self._answer(request):
                pass

    def _request(self) -> _Request | None:
        while _END not in self._buffered:
            piece = self._socket.recv(_HEAD_LIMIT)
            if not piece:
                return None
            self._buffered += piece
        head, _, self._buffered = self._buffered.partition(_END)
        first, *lines = head.decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ")
        url = urlsplit(target)
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        return _Request(method, unquote(url.path), parse_qs(url.query), headers)

    def _answer(self, request: _Request) -> bool:
        """Whether the connection goes on."""
        match request.path.strip("/").split("/"):
            case ["jobs"]:
                self._send_json(200, self._api.take())
            case ["jobs", job, "status"]:
                self._api.mark(request.query["status"][0], job)
                self._send(204, b"")
            case ["jobs", job, "files", "url"]:
                self._api.mark("asked", job)
                self._send_json(201, self._offer("POST", f"/jobs/{job}/files/upload"))
            case ["jobs", job, "files", "upload"]:
                self._receive(request)
                self._api.mark("taken", job)
                self._send(201, b"{}")
            case ["files", name, "url"]:
                self._api.mark("asked")
                self._send_json(200, self._offer("GET", f"/raw/{name}"))
            case ["raw", name]:
                return self._send_file(request, self._api.files[name])
            case _:
                self._send(404, b"{}")
        return True

    def _offer(self, method: str, path: str) -> dict[str, object]:
        return {
            "method": method,
            "url": (self._api.seen_at or self._api.url) + path,
            "headers": {},
            "data": {},
        }

    def _send_json(self, status: int, value: object) -> None:
        self._send(status, json.dumps(value).encode())

    def _send(self, status: int, body: bytes) -> None:
        self._socket.sendall(_head(status, len(body), {}) + body)

    def _send_file(self, request: _Request, path: Path) -> bool:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            start, end = _span(request.headers.get("range", ""), size)
            more = {"ETag": f'"{size}"', "Accept-Ranges": "bytes"}
            part = end - start < size
            if part:
                more["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
            if start and request.headers["range"].endswith("-"):
                self._api.mark("continued")
            self._socket.sendall(_head(206 if part else 200, end - start, more))
            return self._send_body(file, start, end, size) == end - start

    def _send_body(self, file: BinaryIO, start: int, end: int, size: int) -> int:
        """The number of bytes that were sent."""
        if self._api.cut_at and end - start == size:
            self._api.cut_at, end = 0, self._api.cut_at
        place = len(self._api.sent)
        self._api.sent.append(0)
        self._api.sent[place] = self._socket.sendfile(file, start, end - start) if end > start else 0
        return self._api.sent[place]

    def _receive(self, request: _Request) -> None:
        if "expect" in request.headers:
            self._socket.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        left = int(request.headers["content-length"]) - len(self._buffered)
        self._buffered = b""
        buffer = bytearray(min(MIB, max(1, left)))
        while left > 0:
            count = self._socket.recv_into(buffer, min(left, MIB))
            if not count:
                raise ConnectionResetError
            left -= count


def _span(wanted: str, size: int) -> tuple[int, int]:
    """First byte and end of what a ``Range`` header asks for; without one the whole file."""
    first, _, last = wanted.removeprefix("bytes=").partition("-")
    return int(first or 0), min(int(last) + 1 if last else size, size)


def _head(status: int, length: int, more: dict[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} {_REASONS[status]}", "Content-Type: application/json"]
    lines += [f"{name}: {value}" for name, value in more.items()]
    lines += [] if status == 204 else [f"Content-Length: {length}"]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()
