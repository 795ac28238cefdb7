"""One request and its answer, between the wire and the routes; and the log of all of them."""

import json
import threading
from asyncio import Transport
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from starlette.types import Scope

from mock_api.records import Event, RequestRecord

KEY = "mock.exchange"
TRANSPORT = "mock.transport"


@dataclass
class Exchange:
    """Routes attach what they recorded; the wire says which answer left."""

    method: str
    path: str
    """Decoded."""
    sent_path: str
    """As it was sent."""
    query: str
    range: str | None
    transport: Transport
    on_settled: "Callable[[Exchange], None]"
    began: float
    """When the request arrived, by the mock's clock."""
    account: str | None = None
    fault: int | None = None
    answered: int | None = None
    settled: bool = False
    events: list[Event] = field(default_factory=list)

    @property
    def caller_left(self) -> bool:
        return self.transport.is_closing()

    def settle(self, code: int | None) -> None:
        """The answer is about to leave, or never will (None). Only the first call counts."""
        if not self.settled:
            self.settled = True
            self.answered = None if self.caller_left else code
            self.on_settled(self)

    def record(self, now: float) -> RequestRecord:
        return RequestRecord(
            time=now,
            method=self.method,
            path=self.sent_path,
            query=self.query,
            code=self.answered,
            account=self.account,
            fault=self.fault,
            range=self.range,
        )


def opened(scope: Scope, on_settled: Callable[[Exchange], None], now: float) -> Exchange:
    """The exchange of a request that has just arrived."""
    headers = dict(scope["headers"])
    asked = headers.get(b"range")
    return Exchange(
        method=scope["method"],
        path=scope["path"],
        sent_path=scope["raw_path"].decode("ascii"),
        query=scope["query_string"].decode("ascii", "replace"),
        range=asked.decode("latin-1") if asked else None,
        transport=scope[TRANSPORT],
        on_settled=on_settled,
        began=now,
    )


def exchange_of(scope: Scope) -> Exchange:
    """The exchange that the wire put into the scope."""
    exchange: Exchange = scope[KEY]
    return exchange


class RequestLog:
    """``requests.jsonl``: append-only, and written before the caller has the answer."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._file = path.open("a", encoding="utf-8", buffering=1)
        self._lock = threading.Lock()
        self._start = path.stat().st_size

    def append(self, record: RequestRecord) -> None:
        with self._lock:
            self._file.write(json.dumps(asdict(record)) + "\n")

    def records(self) -> list[RequestRecord]:
        """What was logged since the start or the latest ``restart``."""
        with self._path.open("rb") as file:
            file.seek(self._start)
            return [RequestRecord(**json.loads(line)) for line in file]

    def restart(self) -> None:
        """Leave what is there to the file alone."""
        self._start = self._path.stat().st_size

    def close(self) -> None:
        self._file.close()
