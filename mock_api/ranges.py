"""Answers a download: one range or the whole file, streamed."""

import asyncio
import hashlib
import re
from pathlib import Path
from typing import BinaryIO

from fastapi import Request, Response
from starlette.types import Receive, Scope, Send

from mock_api.exchange import KEY, Exchange
from mock_api.storage import CHUNK

_ONE_RANGE = re.compile(r"bytes=(\d*)-(\d*)$")


class BadRange(Exception):
    """The Range cannot be answered: ``code`` is 416, or 400 for several ranges or none."""

    def __init__(self, code: int, size: int) -> None:
        super().__init__("range not satisfiable" if code == 416 else "malformed or multiple ranges")
        self.code = code
        self.headers = {"content-range": f"bytes */{size}"} if code == 416 else {}


class FileBody(Response):
    """Streams a part of a file; memory stays flat."""

    media_type = None

    def __init__(self, path: Path, first: int, length: int, status: int, headers: dict[str, str]) -> None:
        super().__init__(status_code=status, headers={**headers, "content-length": str(length)})
        self._path = path
        self._first = first
        self._length = length

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        start = {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
        exchange: Exchange | None = scope.get(KEY)
        left = self._length
        with self._path.open("rb", buffering=0) as file:
            file.seek(self._first)
            await send(start)
            while left and not (exchange and exchange.caller_left):
                data = await _read(file, min(left, CHUNK))
                left -= len(data)
                await send({"type": "http.response.body", "body": data, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


async def _read(file: BinaryIO, size: int) -> bytes:
    data = file.read(size) if size < CHUNK else await asyncio.to_thread(file.read, size)
    if not data:
        raise OSError("the file became shorter while it was sent")
    return data


def file_response(request: Request, path: Path) -> FileBody:
    """The file, or the range of it that was asked for; ``BadRange`` if that cannot be."""
    found = path.stat()
    size = found.st_size
    tag = hashlib.md5(f"{found.st_mtime_ns}-{size}".encode(), usedforsecurity=False).hexdigest()
    headers = {"etag": f'"{tag}"', "accept-ranges": "bytes", "content-type": "application/octet-stream"}
    asked = request.headers.get("range")
    if asked is None or request.headers.get("if-range", headers["etag"]) != headers["etag"]:
        return FileBody(path, 0, size, 200, headers)
    first, last = one_range(asked, size)
    headers["content-range"] = f"bytes {first}-{last}/{size}"
    return FileBody(path, first, last - first + 1, 206, headers)


def one_range(asked: str, size: int) -> tuple[int, int]:
    """First and last byte of a single range."""
    found = _ONE_RANGE.match(asked.replace(" ", ""))
    if found is None or found.group(0) == "bytes=-":
        raise BadRange(400, size)
    start, end = found.groups()
    first = int(start) if start else max(0, size - int(end))
    last = min(int(end), size - 1) if start and end else size - 1
    if first > last:
        raise BadRange(416, size)
    return first, last
