"""The HTTP server itself: a few connections, each with little time; it answers GET and nothing else."""

import gzip
import logging
import socket
import socketserver
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from jobfetcher.status.hosts import is_ours

log = logging.getLogger(__name__)

CONNECTIONS = 16
"""Requests answered at once; one more is closed unanswered."""
REQUEST_SECONDS = 10.0
"""A request and its answer must be over by then, whatever the other side does."""
READ_SECONDS = 5.0
MAX_BODY = 64 * 1024
"""Bytes of a body that are read, to be thrown away: an unread one would break the answer off."""

HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
PLAIN = "text/plain; charset=utf-8"


class PortUnusable(Exception):
    """The port cannot be opened; the message says what to do."""


@dataclass(frozen=True)
class Question:
    """A GET request, taken apart."""

    path: str
    query: dict[str, str]
    accept: str


@dataclass(frozen=True)
class Answer:
    """What goes back."""

    body: bytes
    kind: str = PLAIN
    code: int = 200


Responder = Callable[[Question], Answer]


def sentence(code: int, text: str) -> Answer:
    """A refusal, for people."""
    return Answer(f"{text}\n".encode(), code=code)


NO_SUCH_METHOD = 501
NOT_OURS = sentence(403, "Ask by this machine's loopback address, or by the name in STATUS_HOST.")
ONLY_GET = sentence(405, "This port only shows: use GET. 'jobfetcher --help' lists what else there is.")


def nothing_yet(question: Question) -> Answer:
    """What is said until the worker is put together."""
    return sentence(503, "The worker is starting.")


class StatusServer(ThreadingHTTPServer):
    """Open from the start, so that a port that is taken is known at once; answers after ``start``.

    Raises ``PortUnusable``. ``port`` 0 takes any free one. A request gets ``patience`` seconds, and is looked
    at every ``tick`` seconds. A context manager.
    """

    daemon_threads = True
    request_queue_size = CONNECTIONS

    def __init__(self, host: str, port: int, tick: float = 1.0, patience: float = REQUEST_SECONDS) -> None:
        self.host = host
        self._patience = patience
        self._tick = tick
        self.respond: Responder = nothing_yet
        self._room = threading.BoundedSemaphore(CONNECTIONS)
        self._open: dict[int, tuple[float, socket.socket]] = {}
        self._thread: threading.Thread | None = None
        try:
            self.address_family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            super().__init__((str(address[0]), port), Handler)
        except OSError as error:
            raise PortUnusable(
                f"STATUS_PORT {port} cannot be opened on STATUS_HOST {host} ({error.strerror}). "
                "Stop what uses it, or choose another one; 0 takes any that is free."
            ) from error

    @property
    def url(self) -> str:
        """Where it answers."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.server_address[1]}/"

    def server_bind(self) -> None:
        # HTTPServer's own asks the name server for this machine's name, which may take long.
        socketserver.TCPServer.server_bind(self)

    def start(self, respond: Responder) -> None:
        """Answer from now on, in threads of its own."""
        self.respond = respond
        self._thread = threading.Thread(
            target=self.serve_forever, args=(self._tick,), name="status-page", daemon=True
        )
        self._thread.start()
        log.info("status.listening", extra={"url": self.url})

    def server_close(self) -> None:
        """Close the port."""
        if self._thread is not None:
            self.shutdown()
            self._thread.join()
            self._thread = None
        super().server_close()

    def process_request(self, request: socket.socket, client_address: object) -> None:  # type: ignore[override]  # typeshed allows datagrams here
        if self._room.acquire(blocking=False):
            self._open[id(request)] = (time.monotonic() + self._patience, request)
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: socket.socket, client_address: object) -> None:  # type: ignore[override]  # likewise
        try:
            super().process_request_thread(request, client_address)
        finally:
            del self._open[id(request)]
            self._room.release()

    def service_actions(self) -> None:
        """At each tick: end what takes too long, however slowly it drips."""
        for deadline, request in list(self._open.values()):
            if time.monotonic() > deadline:
                with suppress(OSError):
                    request.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: object, client_address: object) -> None:
        log.debug("status.broken-off", exc_info=True)


class Handler(BaseHTTPRequestHandler):
    """One request, one answer, and the connection is closed."""

    timeout = READ_SECONDS
    server: StatusServer
    server_version = "jobfetcher"
    sys_version = ""

    def do_GET(self) -> None:
        if is_ours(self.headers.get("Host"), self.server.host):
            self._send(self._answer())
        else:
            self._send(NOT_OURS)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        if code != NO_SUCH_METHOD:
            self._send(sentence(code, "This is no request that can be read."))
            return
        with suppress(OSError, ValueError):
            self.rfile.read(min(int(self.headers.get("Content-Length") or 0), MAX_BODY))
        self._send(ONLY_GET)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class names it so
        log.debug("status.asked", extra={"line": format % args})

    def _answer(self) -> Answer:
        try:
            parts = urlsplit(self.path)
            query = {name: values[-1] for name, values in parse_qs(parts.query, max_num_fields=10).items()}
        except ValueError:
            return sentence(404, "There is no such page.")
        try:
            return self.server.respond(Question(parts.path, query, self.headers.get("Accept", "")))
        except Exception:
            log.exception("status.stumbled")
            return sentence(500, "The worker could not answer; its log says why.")

    def _send(self, answer: Answer) -> None:
        body, headers = answer.body, {**HEADERS, "Content-Type": answer.kind}
        if len(body) > 1024 and self._may_zip():
            body, headers["Content-Encoding"] = gzip.compress(body, 1), "gzip"
        if answer is ONLY_GET:
            headers["Allow"] = "GET"
        self.send_response(answer.code)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _may_zip(self) -> bool:
        headers = getattr(self, "headers", None)  # there are none yet if the first line was nonsense
        return headers is not None and "gzip" in headers.get("Accept-Encoding", "")
