"""Whether an engine answers on its socket: what is heard, and what is said of it."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from jobfetcher.runners.docker import DockerEngine
from jobfetcher.runners.engine import Unanswered
from jobfetcher.runners.unix_socket import ping
from states.errors import Paused


@contextmanager
def engine(path: Path, *said: bytes) -> Iterator[list[bytes]]:
    """Answers one request with ``said`` and keeps what it was asked. Nothing to say: it stays silent."""
    asked: list[bytes] = []
    over = threading.Event()

    def answer() -> None:
        line, _ = listening.accept()
        with line:
            asked.append(line.recv(1000))
            for piece in said:
                line.sendall(piece)
            if not said:
                over.wait(60)

    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        thread = threading.Thread(target=answer)
        thread.start()
        yield asked
        over.set()
        thread.join()


def test_an_engine_that_is_well_is_asked_in_http(tmp_path: Path) -> None:
    """One request on a connection of its own, to what Docker and podman both answer; in pieces too."""
    socket_path = tmp_path / "s"
    with engine(socket_path, b"HTTP/1.0 2", b"00 OK\r\nApi-Version: 1.41\r\n\r\nOK") as asked:
        DockerEngine(f"unix://{socket_path}").ping()

    assert asked == [b"GET /_ping HTTP/1.0\r\nHost: localhost\r\n\r\n"]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (b"HTTP/1.1 500 Internal Server Error\r\n\r\n", "has trouble: HTTP/1.1 500 Internal Server Error."),
        (b"\xff\xfe nonsense 200\n", "has trouble: "),
        (b"", "has trouble: it hung up."),
    ],
    ids=["an error", "nonsense", "nothing"],
)
def test_an_engine_that_is_not_well_pauses(tmp_path: Path, said: bytes, expected: str) -> None:
    """The sentence names the socket, and what the engine said."""
    socket_path = tmp_path / "s"
    with engine(socket_path, said), pytest.raises(Paused) as paused:
        ping(str(socket_path), 60)

    assert str(paused.value).startswith(f"The Docker engine at unix://{socket_path} {expected}")


def test_an_engine_that_hangs_pauses(tmp_path: Path) -> None:
    """It takes the connection and says nothing: its time is limited."""
    socket_path = tmp_path / "s"
    with engine(socket_path), pytest.raises(Unanswered, match="does not answer"):
        ping(str(socket_path), 0.1)


def test_where_nobody_listens_it_is_to_be_started(tmp_path: Path) -> None:
    """No socket, or one that an engine left behind: the sentence says what to do."""
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(tmp_path / "left"))
    for name in ("none", "left"):
        with pytest.raises(Paused, match=f"No Docker engine answers at unix://{tmp_path}/{name}: start it"):
            ping(str(tmp_path / name), 60)
