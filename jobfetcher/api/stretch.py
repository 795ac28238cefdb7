"""A stretch of a file as a piece of a request's body, which the kernel sends without a copy in between."""

import os
import socket
import ssl
from dataclasses import dataclass


class Shrunk(Exception):
    """The file became shorter while it was sent."""


@dataclass
class Stretch:
    """``length`` bytes of the open file ``fd`` from ``place`` on; as much of a file as ``sendfile`` needs."""

    fd: int
    place: int
    length: int

    def fileno(self) -> int:
        return self.fd

    def seek(self, place: int) -> None:
        """Begin there; ``socket.sendfile`` does that where the kernel will not send from such a file."""
        self.place = place

    def read(self, size: int) -> bytes:
        piece = os.pread(self.fd, size, self.place)
        self.place += len(piece)
        return piece

    def send(self, sock: socket.socket) -> None:
        """Send all of it. Raises ``OSError`` and ``Shrunk``."""
        sent = self._encrypted(sock) if isinstance(sock, ssl.SSLSocket) else self._plain(sock)
        if sent < self.length:
            raise Shrunk

    def _plain(self, sock: socket.socket) -> int:
        return sock.sendfile(self, self.place, self.length)

    def _encrypted(self, sock: socket.socket) -> int:
        sent = 0
        while piece := self.read(self.length - sent):
            sock.sendall(piece)
            sent += len(piece)
        return sent
