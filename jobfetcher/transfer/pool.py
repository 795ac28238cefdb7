"""The connections over which file contents travel, shared by all threads of one job's transfer.

A request runs in the calling thread; a stop shuts its socket down from another.
"""

import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import urllib3

from jobfetcher.api.connections import USER_AGENT, Connections, finish
from jobfetcher.api.lanes import Lane
from states.ports import Stop

CONNECT_SECONDS = 10.0
INACTIVITY_SECONDS = 60.0
STALL_SECONDS = 15.0
_REDIRECTS = 5


class Pool:
    """Makes requests for files. Safe from any thread."""

    def __init__(
        self, connections: int, inactivity: float = INACTIVITY_SECONDS, connect: float = CONNECT_SECONDS
    ) -> None:
        timeout = urllib3.Timeout(connect=min(connect, inactivity), read=inactivity)
        self._connections = Connections(connections, timeout)

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._connections.close()

    def get(
        self, method: str, url: str, headers: dict[str, str], stop: Stop
    ) -> AbstractContextManager[urllib3.BaseHTTPResponse]:
        """The response with its body still to read; redirects are followed, without any login to others."""
        return self._exchange(method, url, stop, headers, follow=_REDIRECTS)

    def post(
        self, method: str, url: str, headers: dict[str, str], body: Iterable[Any], stop: Stop
    ) -> AbstractContextManager[urllib3.BaseHTTPResponse]:
        """The response to a body given in pieces; ``headers`` must say its length."""
        return self._exchange(method, url, stop, headers, body=body)

    @contextmanager
    def _exchange(
        self, method: str, url: str, stop: Stop, headers: dict[str, str], **more: Any
    ) -> Iterator[urllib3.BaseHTTPResponse]:
        lane = Lane(time.monotonic())
        whole = False
        with stop.interrupts(lane.cut):
            response = self._connections.send(
                lane, method, url, {"User-Agent": USER_AGENT, **headers}, decode_content=False, **more
            )
            try:
                yield response
                whole = True
            finally:
                lane.end(time.monotonic())
                finish(response, whole)
