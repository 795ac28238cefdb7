"""The quick way of reading an answer's head gives what http.client's own way gives."""

import io
import socket
from http.client import HTTPException, HTTPResponse
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobfetcher.api.heads import QuickHead
from tests.properties import calm

BODY = b"0123456789"


class Played:
    """A socket that receives what was written down."""

    def __init__(self, sent: bytes) -> None:
        self._sent = sent

    def makefile(self, *_: object) -> io.BufferedReader:
        return io.BufferedReader(io.BytesIO(self._sent))


def read(kind: type[HTTPResponse], sent: bytes, method: str) -> Any:
    """All that can be told of the answer; of an error its type."""
    played: Any = Played(sent)
    answer = kind(played, method=method)
    try:
        answer.begin()
        told = (answer.status, answer.reason, answer.version, answer.getheaders(), answer.will_close)
        return (
            *told,
            answer.length,
            answer.chunked,
            [type(defect) for defect in answer.headers.defects],
            answer.read(),
        )
    except (HTTPException, ValueError) as error:
        return type(error)
    finally:
        answer.close()


def same(sent: bytes, method: str = "GET") -> bool:
    return bool(read(HTTPResponse, sent, method) == read(QuickHead, sent, method))


@pytest.mark.parametrize(
    "head",
    [
        pytest.param('HTTP/1.1 200 OK\r\nContent-Length: 10\r\nETag: "a"', id="everyday"),
        pytest.param("HTTP/1.1 201 \r\ncontent-length:10", id="no reason, no space"),
        pytest.param("HTTP/1.1 200 OK\r\nContent-Length: 10\r\nConnection: Close", id="closes"),
        pytest.param("HTTP/1.1 200 OK\r\nContent-Length: 10\r\nConnection: keep-alive", id="stays"),
        pytest.param("HTTP/1.1 200 OK\r\nContent-Length: 10\r\nContent-Length: 3", id="two lengths"),
        pytest.param("HTTP/1.1 200 OK\r\nContent-Length: -1", id="less than nothing"),
        pytest.param("HTTP/1.1 200 OK\r\nContent-Length: 1_0", id="no number"),
        pytest.param("HTTP/1.1 200 OK\r\nContent-Length: 10 ", id="a space behind"),
        pytest.param("HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 10", id="over two lines"),
        pytest.param("HTTP/1.1 200 OK\r\nContent-Length: 10\r\nTransfer-Encoding: chunked", id="chunked"),
        pytest.param("HTTP/1.1 200 OK\r\nX", id="no colon"),
        pytest.param("HTTP/1.1 200 OK\r\nX : y\r\nContent-Length: 10", id="space before the colon"),
        pytest.param("HTTP/1.1 200 OK\r\nContent-Length: 10\r\nX: a\rb", id="half a line end"),
        pytest.param("HTTP/1.1 200 OK\nContent-Length: 10", id="short line ends"),
        pytest.param("HTTP/1.1 204 No Content", id="no content"),
        pytest.param("HTTP/1.1 304 Not Modified\r\nContent-Length: 10", id="not modified"),
        pytest.param("HTTP/1.1 200 OK", id="until it closes"),
        pytest.param("HTTP/1.0 200 OK\r\nContent-Length: 10", id="old"),
        pytest.param("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 10", id="continue"),
        pytest.param("HTTP/1.1 20 OK\r\nContent-Length: 10", id="no status"),
        pytest.param("SMTP 200", id="something else"),
        pytest.param("HTTP/1.1 200 Z\xfcrich\r\nX: \xfc\x85\r\nContent-Length: 10", id="umlauts"),
        pytest.param("HTTP/1.1 200 OK\r\nContent-Length: 99", id="breaks off"),
        pytest.param("HTTP/1.1 200 OK" + "\r\nX: y" * 70 + "\r\nContent-Length: 10", id="many"),
        pytest.param("HTTP/1.1 200 OK" + "\r\nX: y" * 120 + "\r\nContent-Length: 10", id="too many"),
        pytest.param(f"HTTP/1.1 200 OK\r\nX: {'y' * 10_000}\r\nContent-Length: 10", id="long"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_the_quick_way_reads_the_same(head: str, method: str) -> None:
    """Status, headers, length, body and errors are those of the library."""
    assert same(head.encode("latin-1") + b"\r\n\r\n" + BODY, method)


NAMES = st.sampled_from(
    ["Content-Length", "Transfer-Encoding", "Connection", "ETag", "x", "X Y", "", "\t", "From a"]
)
VALUES = st.one_of(
    st.sampled_from(["10", "3", "chunked", "close", "", " 10", "\t10 "]),
    st.text(st.characters(max_codepoint=255), max_size=6),
)


@calm
@given(
    st.sampled_from(["200", "201", "206", "204", "304", "404"]),
    st.lists(st.tuples(NAMES, st.sampled_from([":", ": ", ""]), VALUES), max_size=5),
    st.sampled_from(["\r\n", "\n"]),
)
def test_whatever_the_headers_it_reads_the_same(
    status: str, fields: list[tuple[str, str, str]], end: str
) -> None:
    """Also where they are nonsense."""
    lines = [f"HTTP/1.1 {status} OK", *("".join(field) for field in fields), "", ""]

    assert same(end.join(lines).encode("latin-1") + BODY)


def test_a_head_that_comes_in_two_parts_is_read_whole() -> None:
    """What has not arrived yet is waited for."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b"HTTP/1.1 200 OK\r\nContent-")
        answer = QuickHead(ours)
        answer.fp.peek()
        theirs.sendall(b"Length: 2\r\n\r\nok")
        answer.begin()

        assert (200, b"ok") == (answer.status, answer.read())
        answer.close()
