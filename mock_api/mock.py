"""The mock as one value: what routes work with, and how they get at it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from fastapi import Depends, HTTPException, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from mock_api.accounts import Account, Unauthorized
from mock_api.exchange import RequestLog, exchange_of
from mock_api.faults import FaultBook
from mock_api.signing import Signer
from mock_api.storage import Storage
from mock_api.wire import Listener
from mock_api.world import World


@dataclass(frozen=True)
class FileSettings:
    """How files travel."""

    presigned: bool = False
    """As with S3; else as with the service's local disk."""
    url_seconds: int = 600
    """How long a presigned request holds."""
    max_post_bytes: int = 5 * 10**9
    """The most that S3 takes in one POST."""


@dataclass
class Mock:
    """Everything behind the routes."""

    world: World
    data: Path
    files: FileSettings = FileSettings()
    listener: Listener | None = None
    control_url: str = ""
    faults: FaultBook = field(default_factory=FaultBook)
    signer: Signer = field(default_factory=Signer)

    def __post_init__(self) -> None:
        self.storage = Storage(self.data)
        self.log = RequestLog(self.data / "requests.jsonl")


def mock_of(request: Request) -> Mock:
    """The mock that this app serves."""
    mock: Mock = request.app.state.mock
    return mock


_bearer = HTTPBearer(auto_error=False)


async def _caller(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> Account:
    if credentials is None:
        raise HTTPException(403, "Not authenticated")
    try:
        account = mock_of(request).world.caller(credentials.credentials)
    except Unauthorized as refusal:
        raise HTTPException(refusal.code, refusal.detail) from refusal
    exchange_of(request.scope).account = account.name
    return account


async def _server(request: Request) -> Mock:
    return mock_of(request)


Server = Annotated[Mock, Depends(_server)]
Caller = Annotated[Account, Depends(_caller)]


def base_url(request: Request) -> str:
    """The server's address as the caller wrote it, without a slash at its end."""
    return str(request.base_url).rstrip("/")
