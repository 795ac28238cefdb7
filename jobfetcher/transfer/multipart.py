"""A ``multipart/form-data`` body of known length, read piece by piece: memory stays flat.

Built by hand, because the ready-made encoders are several times slower or hold the file in memory.
"""

import os
import secrets
from collections.abc import Callable, Mapping, Sequence

Span = tuple[int, int, int]
"""A piece of a file: descriptor, offset, number of bytes."""
_ESCAPED = str.maketrans({'"': "%22", "\r": "%0D", "\n": "%0A"})
"""What browsers escape in the names of fields and files."""


class Shrunk(Exception):
    """The file became shorter while it was read."""


class Multipart:
    """The fields first, then ``spans`` as the file. What a file grows by meanwhile is left out.

    ``on_read`` is called with the number of the file's bytes that have been read.
    """

    def __init__(
        self,
        fields: Mapping[str, str],
        name: str,
        spans: Sequence[Span],
        on_read: Callable[[int], object] = lambda _: None,
    ) -> None:
        boundary = secrets.token_hex(16)
        part = f"--{boundary}\r\nContent-Disposition: form-data; "
        head = "".join(f'{part}name="{_quoted(key)}"\r\n\r\n{value}\r\n' for key, value in fields.items())
        head += f'{part}name="file"; filename="{_quoted(name)}"\r\n'
        head += "Content-Type: application/octet-stream\r\n\r\n"
        self.content_type = f"multipart/form-data; boundary={boundary}"
        self._head = head.encode()
        self._tail = f"\r\n--{boundary}--\r\n".encode()
        self._on_read = on_read
        self._read = 0
        self._spans = [span for span in reversed(spans) if span[2]]
        self.length = len(self._head) + sum(span[2] for span in spans) + len(self._tail)
        """Bytes of the whole body."""

    def read(self, size: int = 1024 * 1024) -> bytes:
        """The next piece, empty at the end. Raises ``Shrunk``."""
        if self._head:
            piece, self._head = self._head[:size], self._head[size:]
        elif self._spans:
            piece = self._next_of_file(size)
        else:
            piece, self._tail = self._tail[:size], self._tail[size:]
        return piece

    def _next_of_file(self, size: int) -> bytes:
        fd, offset, left = self._spans.pop()
        piece = os.pread(fd, min(size, left), offset)
        if not piece:
            raise Shrunk
        if left > len(piece):
            self._spans.append((fd, offset + len(piece), left - len(piece)))
        self._read += len(piece)
        self._on_read(self._read)
        return piece


def _quoted(name: str) -> str:
    return name.translate(_ESCAPED)
