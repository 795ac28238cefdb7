"""Takes apart the stream in which an engine sends stdout and stderr together.

Each frame is one byte for the stream, three of padding, four for the length (big endian), then the data.
"""

from collections.abc import Iterator

HEADER = 8


def payloads(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The data of all frames in order, about one piece for each chunk; memory stays at one chunk."""
    header, left = b"", 0
    for chunk in chunks:
        found, at = [], 0
        while at < len(chunk):
            if left:
                piece = chunk[at : at + left]
                found.append(piece)
                at, left = at + len(piece), left - len(piece)
            else:
                piece = chunk[at : at + HEADER - len(header)]
                header, at = header + piece, at + len(piece)
                if len(header) == HEADER:
                    header, left = b"", int.from_bytes(header[4:], "big")
        if found:
            yield b"".join(found)
