"""One exchange under way, and the connections of urllib3 that know which exchange they are used for."""

import socket
import threading
from contextlib import suppress
from typing import Any

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection

from jobfetcher.api.heads import QuickHead
from jobfetcher.api.stretch import Stretch

IDLE_SECONDS = 4.0
"""How long an unused connection is kept. The service closes those that idle for 5 s; ours are dropped a
little earlier, so that none breaks under a request."""
_WARM_SECONDS = 0.1
"""A connection that answered so shortly ago is not asked whether it is still there: for small files that
question would be a good part of the work."""
_current = threading.local()


class Lane:
    """One exchange. Times are seconds by its owner's clock."""

    def __init__(self, now: float, fresh: bool = False) -> None:
        self.now = now
        self.fresh = fresh
        """No connection that was used before will do."""
        self.reused = False
        """The connection was used before."""
        self.connection: _Plain | None = None

    def enter(self) -> None:
        """What this thread sends from now on belongs to this exchange."""
        _current.lane = self

    def end(self, now: float) -> None:
        """The exchange is over; its connection is idle from now on."""
        if self.connection is not None:
            self.connection.used_at = now

    def cut(self) -> None:
        """End what is being sent or read, from any thread; nothing else ends a stalled read at once."""
        sock = getattr(self.connection, "sock", None)
        if sock is not None:
            with suppress(OSError):
                # Past SSLSocket.shutdown, which takes the TLS state away from under the reader.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)


class _Plain(HTTPConnection):
    response_class = QuickHead
    used = False
    used_at = float("-inf")

    @property
    def is_connected(self) -> bool:
        """It may be used again: what urllib3 asks before it does."""
        lane: Lane = _current.lane
        idle = lane.now - self.used_at
        if lane.fresh or idle >= IDLE_SECONDS or self.sock is None:
            return False
        return idle < _WARM_SECONDS or super().is_connected

    def request(self, *args: Any, **kwargs: Any) -> None:
        lane: Lane = _current.lane
        lane.connection, lane.reused = self, self.used
        self.used, self.used_at = True, lane.now
        # A server that refuses a body resets the connection, often after saying why: read that.
        with suppress(ConnectionResetError):
            super().request(*args, **kwargs)
        _acknowledge_at_once(self.sock)

    def send(self, data: Any) -> None:
        if isinstance(data, Stretch):
            data.send(self.sock)
        else:
            super().send(data)

    def close(self) -> None:
        self.used = False
        super().close()


class _Secure(_Plain, HTTPSConnection):
    pass


def _acknowledge_at_once(sock: socket.socket | None) -> None:
    """A server may hold an answer's body back until its head is acknowledged, which Linux does 40 ms later on
    a connection that was used before (tcp(7), TCP_QUICKACK; it holds until the next request)."""
    if sock is not None and hasattr(socket, "TCP_QUICKACK"):
        with suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


class PlainPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Plain


class SecurePool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _Secure
