"""A server on the loopback interface that takes connections and never says a word."""

import socket
import threading
from types import TracebackType
from typing import Self


class SilentServer:
    """Use it as a context manager; leaving it ends all connections."""

    def __enter__(self) -> Self:
        self._taken: list[socket.socket] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listening.getsockname()[1])
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        for connection in (self._listening, *self._taken):
            connection.close()

    def _accept(self) -> None:
        while True:
            try:
                self._taken.append(self._listening.accept()[0])
            except OSError:
                return
