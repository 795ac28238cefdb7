"""A server for raw network faults: each path answers what the test scripted, and every request is kept.

Unlike the mock API it knows nothing of jobs; a test hands in one function per path.
"""

import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


@dataclass
class Seen:
    """One request as it arrived."""

    method: str
    path: str
    """With its query, as it was sent."""
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes = b""


class Reply(BaseHTTPRequestHandler):
    """What a scripted function answers with."""

    protocol_version = "HTTP/1.1"
    server: "_Server"

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        """A whole answer; ``_`` in a header's name stands for ``-``."""
        self.start(status, Content_Length=str(len(body)), **headers)
        self.wfile.write(body)

    def start(self, status: int, **headers: str) -> None:
        """Status and headers only."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def hang_up(self) -> None:
        """Close the connection after what was sent so far."""
        self.close_connection = True

    def log_message(self, *_: Any) -> None:
        """Quiet."""

    def _serve(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        headers = {name.lower(): value for name, value in self.headers.items()}
        seen = Seen(self.command, self.path, headers, self.rfile.read(length))
        self.server.take(seen)(self, seen)

    do_GET = do_PUT = do_POST = _serve  # noqa: N815 (http.server asks for these names)


Script = Callable[[Reply, Seen], None]


def always(status: int, body: bytes = b"", **headers: str) -> Script:
    """The same answer each time."""
    return lambda reply, seen: reply.answer(status, body, **headers)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64  # or of several connections at once some wait for a second
    owner: "ScriptedServer"

    def take(self, seen: Seen) -> Script:
        return self.owner.take(seen)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """The client went away: what such tests are about."""


@dataclass
class ScriptedServer:
    """Answers ``METHOD /path`` (without query) by ``scripts``, and anything else by ``otherwise``."""

    scripts: dict[str, Script] = field(default_factory=dict)
    otherwise: Script = field(default_factory=lambda: always(404, b'{"detail": "Not Found"}'))
    seen: list[Seen] = field(default_factory=list)
    tls: ssl.SSLContext | None = None

    def __enter__(self) -> Self:
        self._server = _Server(("127.0.0.1", 0), Reply)
        self._server.owner = self
        if self.tls is not None:
            self._server.socket = self.tls.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"{'http' if self.tls is None else 'https'}://127.0.0.1:{self._server.server_port}"

    def take(self, seen: Seen) -> Script:
        self.seen.append(seen)
        return self.scripts.get(f"{seen.method} {seen.path.split('?')[0]}", self.otherwise)

    def paths(self) -> list[str]:
        """``METHOD path`` of every request, in order of arrival."""
        return [f"{seen.method} {seen.path}" for seen in self.seen]


def in_turn(*scripts: Script) -> Script:
    """One script per request; the last one for all that follow."""
    left = list(scripts)
    lock = threading.Lock()

    def script(reply: Reply, seen: Seen) -> None:
        with lock:
            chosen = left.pop(0) if len(left) > 1 else left[0]
        chosen(reply, seen)

    return script
