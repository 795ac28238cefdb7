"""The mock as an ASGI app: all routes behind one wire."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from starlette.requests import ClientDisconnect

from mock_api import control, files, jobs, login, s3
from mock_api.document import TAGS, document
from mock_api.mock import FileSettings, Mock
from mock_api.wire import Listener, Wire
from mock_api.world import World


class _App(FastAPI):
    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            self.openapi_schema = document(self)
        return self.openapi_schema


def create_app(
    world: World,
    data: Path,
    files_settings: FileSettings | None = None,
    listener: Listener | None = None,
    control_url: str = "",
) -> FastAPI:
    """The app; ``data`` is the folder for its files and its request log.

    It scans for silent jobs every ``world.rules.scan_period`` seconds while it is served; 0: never.
    """
    mock = Mock(world, data, files_settings or FileSettings(), listener, control_url)
    app = _App(openapi_tags=TAGS, lifespan=_lifespan)
    app.state.mock = mock
    for router in (jobs.router, files.router, login.router, s3.router, control.router):
        app.include_router(router)
    app.get("/")(root)
    app.add_exception_handler(s3.S3Error, s3.s3_error)
    app.add_exception_handler(ClientDisconnect, _client_left)
    app.add_middleware(Wire, world=world, faults=mock.faults, log=mock.log, listener=listener)
    return app


async def root() -> dict[str, str]:
    return {"message": "Welcome to the DECODE OpenCloud Worker-facing API"}


async def _client_left(request: Request, error: Exception) -> Response:
    return Response(status_code=400)


@contextlib.asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    mock: Mock = app.state.mock
    scanner = asyncio.create_task(_scan(mock.world))
    try:
        yield
    finally:
        scanner.cancel()
        mock.log.close()


async def _scan(world: World) -> None:
    while world.rules.scan_period > 0:
        world.scan()
        await asyncio.sleep(world.rules.scan_period)
