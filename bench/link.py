"""A long link in user space: a proxy on loopback through which answers take their time.

As over TCP with a fixed window: each byte arrives ``delay`` after it was sent, at most ``window`` bytes of
one connection are under way, so one connection carries ``window / delay`` and several carry several times
that. Requests are not delayed: delay there would only add to the same round trip. A new connection costs
one round trip first. There is no loss, no slow start and no limit for all connections together.
"""

import contextlib
import socket
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from bench.listening import Listening
from bench.measure import MIB

DELAY = 0.05
WINDOW = MIB
_PIECE = 64 * 1024


@dataclass
class Stall:
    """One connection falls silent, without being closed, once it has carried ``after`` bytes."""

    after: int
    seconds: float
    """How long, unless it is closed before."""
    began: float | None = None
    """When, by the monotonic clock."""
    ended: float | None = None
    """When it went on by itself."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def due(self, carried: int) -> bool:
        """Whether the connection that asks is the one to fall silent now."""
        with self._lock:
            if self.began is not None or carried < self.after:
                return False
            self.began = time.monotonic()
            return True


class Link(Listening):
    """A context manager; ``url`` leads to what is behind the link."""

    def __init__(self, url: str, delay: float = DELAY, window: int = WINDOW) -> None:
        self._behind = urlsplit(url)
        self._delay = delay
        self._window = window
        self._open = threading.Event()
        self.stall: Stall | None = None
        """To happen once; a new one may be set at any time."""

    def __exit__(self, *how: object) -> None:
        self._open.set()
        super().__exit__(*how)

    def carry(self, connection: socket.socket) -> None:
        """Carry what comes and goes on the connection until one end closes it."""
        time.sleep(self._delay)
        with connection as near, contextlib.suppress(OSError):
            address = (self._behind.hostname or "", self._behind.port or 80)
            with socket.create_connection(address) as far:
                for end in (near, far):
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                flight = _Flight(self._window, self._delay)
                there = threading.Thread(target=_requests, args=(near, far), daemon=True)
                back = threading.Thread(target=flight.take_off, args=(far,), daemon=True)
                there.start()
                back.start()
                try:
                    self._deliver(near, flight)
                finally:
                    flight.close()
                    for end in (near, far):
                        _shut(end)
                    there.join()
                    back.join()

    def _deliver(self, near: socket.socket, flight: "_Flight") -> None:
        carried = 0
        while piece := flight.land():
            near.sendall(piece)
            carried += len(piece)
            if self.stall is not None and self.stall.due(carried):
                self._open.wait(self.stall.seconds)
                self.stall.ended = time.monotonic()


class _Flight:
    """What is under way on one connection, at most ``window`` bytes."""

    def __init__(self, window: int, delay: float) -> None:
        self._window = window
        self._delay = delay
        self._pieces: deque[tuple[float, bytes]] = deque()
        self._bytes = 0
        self._changed = threading.Condition()
        self._closed = False

    def take_off(self, far: socket.socket) -> None:
        """Send on what comes from ``far`` as long as the window has room."""
        with contextlib.suppress(OSError):
            while piece := far.recv(min(_PIECE, self._room())):
                with self._changed:
                    self._pieces.append((time.monotonic() + self._delay, piece))
                    self._bytes += len(piece)
                    self._changed.notify_all()
        self.close()

    def land(self) -> bytes:
        """The next piece, once its time has come; nothing at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._pieces or self._closed)
            if not self._pieces:
                return b""
            due, piece = self._pieces.popleft()
        time.sleep(max(0.0, due - time.monotonic()))
        with self._changed:
            self._bytes -= len(piece)
            self._changed.notify_all()
        return piece

    def close(self) -> None:
        """Nothing more takes off."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _room(self) -> int:
        with self._changed:
            self._changed.wait_for(lambda: self._bytes < self._window or self._closed)
            return max(1, self._window - self._bytes)


def _requests(near: socket.socket, far: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while piece := near.recv(_PIECE):
            far.sendall(piece)
    _shut(far)


def _shut(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
