"""Reads a ``multipart/form-data`` body as it arrives; the field ``file`` goes straight to disk."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from mock_api.storage import CHUNK, Incoming, Storage


class Malformed(Exception):
    """The body is not what its Content-Type promises. The message says why."""


@dataclass
class Form:
    """What came: fields, at most one file, and the fields that came after it."""

    fields: dict[str, str] = field(default_factory=dict)
    file: Incoming | None = None
    file_name: str = ""
    after_file: list[str] = field(default_factory=list)

    def discard(self) -> None:
        if self.file is not None:
            self.file.discard()


class _Reader:
    """The parser's callbacks."""

    def __init__(self, storage: Storage) -> None:
        self.form = Form()
        self._storage = storage
        self._header = b""
        self._value = b""
        self._disposition: dict[bytes, bytes] = {}
        self._text = bytearray()
        self._into: Incoming | None = None
        self.ended = False

    def on_part_begin(self) -> None:
        self._disposition = {}
        self._text = bytearray()
        self._into = None

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def on_header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = parse_options_header(self._value)[1]
        self._header = self._value = b""

    def on_headers_finished(self) -> None:
        if self._name == "file" and self.form.file is None:
            self._into = self.form.file = self._storage.incoming()
            self.form.file_name = self._disposition.get(b"filename", b"").decode("utf-8", "replace")

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._into is not None:
            self._into.add(data[start:end])
        else:
            self._text += data[start:end]

    def on_part_end(self) -> None:
        if self._into is not None:
            return
        if self.form.file is not None:
            self.form.after_file.append(self._name)
        self.form.fields[self._name] = self._text.decode("utf-8", "replace")

    def on_end(self) -> None:
        self.ended = True

    @property
    def _name(self) -> str:
        return self._disposition.get(b"name", b"").decode("utf-8", "replace")


async def read_form(stream: AsyncIterator[bytes], content_type: str, storage: Storage) -> Form:
    """The whole form. ``Malformed`` if it is none; whatever is raised, nothing is left on disk."""
    reader = _Reader(storage)
    try:
        parser = _parser(reader, content_type)
        async for chunk in stream:
            parser.write(chunk)
            if reader.form.file and len(reader.form.file.pending) >= CHUNK:
                await asyncio.to_thread(reader.form.file.flush)
        if not reader.ended:
            raise Malformed("The body ends before its last boundary.")
    except MultipartParseError as error:
        reader.form.discard()
        raise Malformed(str(error)) from error
    except BaseException:
        reader.form.discard()
        raise
    if reader.form.file:
        reader.form.file.close()
    return reader.form


def _parser(reader: _Reader, content_type: str) -> MultipartParser:
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data" or b"boundary" not in options:
        raise Malformed("The Content-Type is not multipart/form-data with a boundary.")
    return MultipartParser(
        options[b"boundary"],
        {
            "on_part_begin": reader.on_part_begin,
            "on_header_field": reader.on_header_field,
            "on_header_value": reader.on_header_value,
            "on_header_end": reader.on_header_end,
            "on_headers_finished": reader.on_headers_finished,
            "on_part_data": reader.on_part_data,
            "on_part_end": reader.on_part_end,
            "on_end": reader.on_end,
        },
    )
