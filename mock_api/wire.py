"""Between uvicorn and the routes: plays the scripted faults, logs requests, says what was answered.

The control routes under ``/_mock/`` pass untouched.
"""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mock_api.exchange import KEY, Exchange, RequestLog, opened
from mock_api.faults import Fault, FaultBook, FaultKind, Scripted
from mock_api.world import World

LONGEST_URL = 8192
"""Bytes of path and query; what is longer meets a proxy's 414."""
_TICK = 0.02
_FOR_EVER = 1e9


class Listener(Protocol):
    """The listening socket."""

    def down(self, seconds: float | None, spare: asyncio.BaseTransport | None = None) -> None: ...
    def up(self) -> None: ...


@dataclass
class _Call:
    """What a fault plays with."""

    app: ASGIApp
    scope: Scope
    receive: Receive
    send: Send
    exchange: Exchange
    scripted: Scripted

    @property
    def fault(self) -> Fault:
        return self.scripted.fault

    async def work(self, send: Send) -> None:
        await self.app(self.scope, self.receive, send)


class Wire:
    """ASGI middleware; the outermost one."""

    def __init__(
        self, app: ASGIApp, world: World, faults: FaultBook, log: RequestLog, listener: Listener | None
    ) -> None:
        self._app = app
        self._world = world
        self._faults = faults
        self._log = log
        self._listener = listener

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith("/_mock/"):
            await self._app(scope, receive, send)
            return
        exchange = opened(scope, self._settled, self._world.now())
        scope[KEY] = exchange

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                exchange.settle(message["status"])
            await send(message)

        try:
            await self._played(exchange, scope, receive, answer)
        finally:
            exchange.settle(None)

    async def _played(self, exchange: Exchange, scope: Scope, receive: Receive, send: Send) -> None:
        scripted = self._scripted(exchange)
        if scripted is None:
            await self._app(scope, receive, send)
            return
        exchange.fault = scripted.id
        call = _Call(self._app, scope, receive, send, exchange, scripted)
        match scripted.fault.kind:
            case FaultKind.HANG:
                await self._hang(call)
            case FaultKind.REFUSE:
                await self._refuse(call)
            case kind:
                await _PLAYS[kind](call)

    def _scripted(self, exchange: Exchange) -> Scripted | None:
        if len(exchange.sent_path) + len(exchange.query) <= LONGEST_URL:
            return self._faults.take(exchange.method, exchange.path, exchange.query)
        self._world.blame("url_too_long", f"A {exchange.method} had a URL of more than {LONGEST_URL} bytes.")
        return Scripted(
            0, Fault(kind=FaultKind.STATUS, code=414, body="URI Too Long", content_type="text/plain")
        )

    async def _hang(self, call: _Call) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + (_FOR_EVER if call.fault.seconds is None else call.fault.seconds)
        while loop.time() < end and self._faults.holds(call.scripted) and not call.exchange.caller_left:
            await asyncio.sleep(_TICK)
        if call.exchange.caller_left:
            await _disconnected(call.receive)
        else:
            await call.work(call.send)

    async def _refuse(self, call: _Call) -> None:
        if self._listener is not None:
            self._listener.down(call.fault.seconds)
        await _reset(call)

    def _settled(self, exchange: Exchange) -> None:
        for event in exchange.events:
            self._world.settled(event, exchange.answered)
        self._log.append(exchange.record(self._world.now()))


async def _status(call: _Call) -> None:
    await _drained(call.receive)
    await _answer(call)


async def _status_after_work(call: _Call) -> None:
    await call.work(_nowhere)
    await _answer(call)


async def _lose_response(call: _Call) -> None:
    await call.work(_nowhere)
    call.exchange.settle(None)
    call.exchange.transport.close()
    await _disconnected(call.receive)


async def _reset(call: _Call) -> None:
    call.exchange.settle(None)
    abort(call.exchange.transport)
    await _disconnected(call.receive)


async def _ignore_range(call: _Call) -> None:
    headers = [(name, value) for name, value in call.scope["headers"] if name not in (b"range", b"if-range")]
    call.scope["headers"] = headers
    await call.work(call.send)


async def _cut_body_after(call: _Call) -> None:
    left = call.fault.bytes

    async def send(message: Message) -> None:
        nonlocal left
        if call.exchange.caller_left:
            return
        body = message.get("body", b"")
        if len(body) < left or message["type"] != "http.response.body":
            left -= len(body)
            await call.send(message)
            return
        await call.send({"type": "http.response.body", "body": body[:left], "more_body": True})
        call.exchange.transport.close()

    await call.work(send)
    if call.exchange.caller_left:
        await _disconnected(call.receive)


async def _slow(call: _Call) -> None:
    piece = max(1, call.fault.bytes_per_second // 10)

    async def send(message: Message) -> None:
        body = message.get("body", b"")
        for at in range(0, len(body), piece):
            if call.exchange.caller_left:
                return
            part = {"type": "http.response.body", "body": body[at : at + piece], "more_body": True}
            await call.send(part)
            await asyncio.sleep(piece / call.fault.bytes_per_second)
        await call.send({**message, "body": b""} if body else message)

    await call.work(send)


_PLAYS: dict[FaultKind, Callable[[_Call], Awaitable[None]]] = {
    FaultKind.STATUS: _status,
    FaultKind.STATUS_AFTER_WORK: _status_after_work,
    FaultKind.LOSE_RESPONSE: _lose_response,
    FaultKind.RESET: _reset,
    FaultKind.CUT_BODY_AFTER: _cut_body_after,
    FaultKind.SLOW: _slow,
    FaultKind.IGNORE_RANGE: _ignore_range,
}


def abort(transport: asyncio.BaseTransport) -> None:
    """Close with a TCP reset."""
    sock = transport.get_extra_info("socket")
    if sock is not None and isinstance(transport, asyncio.Transport):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()


async def _answer(call: _Call) -> None:
    body = call.fault.body.encode() if call.fault.code not in (204, 304) else b""
    headers = {
        "content-type": call.fault.content_type,
        "content-length": str(len(body)),
        **call.fault.headers,
    }
    raw = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await call.send({"type": "http.response.start", "status": call.fault.code, "headers": raw})
    await call.send({"type": "http.response.body", "body": body})


async def _nowhere(message: Message) -> None:
    """Swallow an answer."""


async def _drained(receive: Receive) -> None:
    while (message := await receive())["type"] == "http.request" and message.get("more_body"):
        pass


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
