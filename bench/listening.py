"""Listening on loopback: a thread for each connection."""

import socket
import threading
from typing import Self


class Listening:
    """A context manager; ``url`` is where it listens. Subclasses say what becomes of a connection."""

    url: str

    def carry(self, connection: socket.socket) -> None:
        """Serve the connection, and close it. Called in a thread of its own."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self.carry, args=(connection,), daemon=True).start()
