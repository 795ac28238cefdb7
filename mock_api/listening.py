"""The API's listening socket, which can be taken away and given back on the same port."""

import asyncio
import socket
from collections.abc import Callable

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from mock_api.exchange import TRANSPORT
from mock_api.wire import abort

_BACKLOG = 256


class Connection(H11Protocol):
    """uvicorn's protocol; it shows its transport to the app, so that faults can break it."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, object],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.public: set[asyncio.Transport] | None = None
        """Where the connection is listed while it is open."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        super().connection_made(transport)
        self.app = _showing(transport, self.app)
        if self.public is not None:
            self.public.add(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self.public is not None:
            self.public.discard(self.transport)


def _showing(transport: asyncio.Transport, app: ASGIApp) -> ASGIApp:
    async def shown(scope: Scope, receive: Receive, send: Send) -> None:
        scope[TRANSPORT] = transport
        await app(scope, receive, send)

    return shown


def bound(host: str, port: int) -> socket.socket:
    """A socket with its port; it does not listen yet."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    sock.setblocking(False)
    return sock


class PublicListener:
    """Call all but the constructor from the event loop."""

    def __init__(self, host: str, port: int) -> None:
        # Bound but never listening: the port stays ours while nothing answers on it.
        self._reserve = bound(host, port)
        self.host = host
        self.port: int = self._reserve.getsockname()[1]
        self._transports: set[asyncio.Transport] = set()
        self._listening: socket.socket | None = None
        self._server: asyncio.Server | None = None
        self._opening: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._connect: Callable[[], Connection] | None = None

    async def open(self, connect: Callable[[], Connection]) -> None:
        """Accept connections, each served by a new ``connect()``."""
        self._connect = connect
        self.up()
        if self._opening is not None:
            await self._opening

    def up(self) -> None:
        """Listen; from now on connecting succeeds. Quiet if it listens already."""
        self._forget_timer()
        if self._listening is None:
            self._listening = bound(self.host, self.port)
            self._listening.listen(_BACKLOG)
            self._opening = asyncio.get_running_loop().create_task(self._accept(self._listening))

    async def _accept(self, sock: socket.socket) -> None:
        server = await asyncio.get_running_loop().create_server(self._connected, sock=sock, backlog=_BACKLOG)
        if self._listening is sock:
            self._server = server
        else:
            server.close()

    def _connected(self) -> Connection:
        assert self._connect is not None
        connection = self._connect()
        connection.public = self._transports
        return connection

    def down(self, seconds: float | None, spare: asyncio.BaseTransport | None = None) -> None:
        """Refuse connections and reset those that are open, for so long; None: until ``up``.

        ``spare`` is the connection that asked for it and still needs its answer.
        """
        self._forget_timer()
        if self._server is not None:
            self._server.close()
        elif self._listening is not None:
            self._listening.close()
        self._server = self._listening = None
        for transport in self._transports - {spare}:
            abort(transport)
        if seconds is not None:
            self._timer = asyncio.get_running_loop().call_later(seconds, self.up)

    def _forget_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def close(self) -> None:
        """Stop listening for good."""
        self.down(None)
        self._reserve.close()
