"""An answer of the engine that comes bit by bit: where it ends, and how long it may be silent."""

from collections.abc import Iterator
from typing import Any, cast

import pytest
import urllib3

from jobfetcher.runners.docker import DockerEngine
from jobfetcher.runners.engine import StreamBroken, Unanswered
from jobfetcher.runners.response import Response
from tests.scripted_server import Reply, ScriptedServer, Seen, always

DEADLINE = 30.0


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        server.scripts["GET /version"] = always(200, b'{"ApiVersion": "1.41"}')
        yield server


@pytest.fixture
def engine(server: ScriptedServer) -> DockerEngine:
    return DockerEngine(server.url.replace("http", "tcp"))


def sends(server: ScriptedServer, *pieces: bytes) -> None:
    """The log of container ``c`` is these bytes, as HTTP has it; then the connection ends."""

    def script(reply: Reply, seen: Seen) -> None:
        reply.start(200, Transfer_Encoding="chunked")
        for piece in pieces:
            reply.wfile.write(piece)
        reply.hang_up()

    server.scripts["GET /v1.41/containers/c/logs"] = script


def log(engine: DockerEngine) -> bytes:
    with engine.output("c") as stream:
        return b"".join(stream.chunks())


def test_an_answer_ends_where_it_says_so(server: ScriptedServer, engine: DockerEngine) -> None:
    """All of it, and nothing of how it was cut."""
    sends(server, b"2\r\nhe\r\n3\r\nllo\r\n", b"0\r\n\r\n")

    assert log(engine) == b"hello"


@pytest.mark.row(25)
@pytest.mark.parametrize(
    "piece", [b"", b"2\r\nhe\r\n", b"2\r\nhe\r\n5\r\nll"], ids=["at once", "between two pieces", "within one"]
)
def test_an_answer_that_breaks_off_is_not_the_whole(
    server: ScriptedServer, engine: DockerEngine, piece: bytes
) -> None:
    """An engine that dies in the middle of a log leaves no end, though the connection is closed in order."""
    sends(server, piece)

    with pytest.raises(StreamBroken, match="broke off"):
        log(engine)


@pytest.mark.row(40)
def test_an_engine_that_breaks_off_remembers_nothing(server: ScriptedServer, engine: DockerEngine) -> None:
    """Then the container is looked at; a question that has no other answer is asked again later."""

    def dies(reply: Reply, seen: Seen) -> None:
        reply.start(200, Transfer_Encoding="chunked")
        reply.hang_up()

    server.scripts["GET /v1.41/events"] = dies

    assert not engine.remembers("c", 1_700_000_000_000_000_001)
    with pytest.raises(Unanswered, match="broke off"):
        engine.out_of_memory("c")
    assert "since=1700000000.000000001&until=1700000000.000000001" in server.seen[-2].path


def test_only_the_beginning_of_a_stream_has_a_time_out(server: ScriptedServer) -> None:
    """A worker whose job takes days hears of its end on the stream that told its start."""
    server.scripts["GET /events"] = always(200, b"said")
    with (
        urllib3.PoolManager() as pool,
        pool.request("GET", f"{server.url}/events", preload_content=False, timeout=DEADLINE) as raw,
    ):
        connection = cast(Any, raw.connection).sock
        assert connection.gettimeout() == DEADLINE

        Response(raw).wait_for_ever()

        assert connection.gettimeout() is None
