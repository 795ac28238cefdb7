"""What is done to a connection around each request."""

import socket
from typing import Any

from jobfetcher.api.lanes import Lane, PlainPool


class Wiretap:
    """A socket that only writes down what is done to it."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def settimeout(self, seconds: float) -> None: ...

    def sendall(self, data: Any) -> None:
        self.done.append("sent")

    def setsockopt(self, level: int, option: int, value: int) -> None:
        assert level == socket.IPPROTO_TCP
        self.done.append(f"{option} is {value}")

    def close(self) -> None: ...


def test_an_answers_head_is_acknowledged_at_once() -> None:
    """Asked for after each request, since sending one ends it: else a server that waits for it before it
    sends the body costs 40 ms a request."""
    wiretap = Wiretap()
    connection = PlainPool.ConnectionCls("127.0.0.1")
    connection.sock = wiretap
    Lane(now=0.0).enter()

    connection.request("GET", "/jobs")

    assert ["sent", f"{socket.TCP_QUICKACK} is 1"] == wiretap.done
