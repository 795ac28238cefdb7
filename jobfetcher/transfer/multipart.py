"""A ``multipart/form-data`` body of known length, piece by piece: memory stays flat.

Built by hand, because the ready-made encoders are several times slower or hold the file in memory.
"""

import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence

from jobfetcher.api.stretch import Shrunk, Stretch

Span = tuple[int, int, int]
"""A piece of a file: descriptor, offset, number of bytes."""
_PIECE = 4 * 1024 * 1024
_SHORT = 64 * 1024
"""Bytes of a file that is sent in one piece with what is around it."""
_ESCAPED = str.maketrans({'"': "%22", "\r": "%0D", "\n": "%0A"})
"""What browsers escape in the names of fields and files."""


class Multipart:
    """The fields first, then ``spans`` as the file. What a file grows by meanwhile is left out.

    Iterating gives its pieces, once; what sends them raises ``Shrunk`` if the file has become shorter.
    ``on_read`` is called with the number of the file's bytes that are done.
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
        self._spans = [span for span in spans if span[2]]
        self._size = sum(span[2] for span in spans)
        self.length = len(self._head) + self._size + len(self._tail)
        """Bytes of the whole body."""

    def __iter__(self) -> Iterator[bytes | Stretch]:
        return iter([self._whole()]) if self._size <= _SHORT else self._pieces()

    def _whole(self) -> bytes:
        """Few bytes are sooner sent at once. Raises ``Shrunk``."""
        content = b"".join(os.pread(fd, length, offset) for fd, offset, length in self._spans)
        if len(content) < self._size:
            raise Shrunk
        self._on_read(self._size)
        return self._head + content + self._tail

    def _pieces(self) -> Iterator[bytes | Stretch]:
        done = 0
        yield self._head
        for fd, offset, length in self._spans:
            for place in range(offset, offset + length, _PIECE):
                size = min(_PIECE, offset + length - place)
                yield Stretch(fd, place, size)
                done += size
                self._on_read(done)
        yield self._tail


def _quoted(name: str) -> str:
    return name.translate(_ESCAPED)
