"""The connections over which file contents travel: one urllib3 pool, shared by all threads.

Certificates and proxies are those that requests would use. A request runs in the calling thread;
``cut`` shuts its socket down from another, which is the only thing that ends a stalled read at once.
"""

import socket
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import certifi
import urllib3
from requests.utils import get_environ_proxies, select_proxy
from urllib3.connection import HTTPConnection, HTTPSConnection

from jobfetcher.api.wire import USER_AGENT, certificates
from states.ports import Stop

BLOCK = 1024 * 1024
"""Bytes moved at a time."""
CONNECT_SECONDS = 10.0
INACTIVITY_SECONDS = 60.0
STALL_SECONDS = 15.0
_REDIRECTS = urllib3.Retry(total=None, connect=0, read=0, redirect=5, status=0, other=0)
_current = threading.local()


class _Plain(HTTPConnection):
    def request(self, *args: Any, **kwargs: Any) -> None:
        _current.lane.connection = self
        # A server that refuses a body resets the connection, often after saying why: read that.
        with suppress(ConnectionResetError):
            super().request(*args, **kwargs)


class _Secure(HTTPSConnection):
    def request(self, *args: Any, **kwargs: Any) -> None:
        _current.lane.connection = self
        with suppress(ConnectionResetError):
            super().request(*args, **kwargs)


class _PlainPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Plain


class _SecurePool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _Secure


class Lane:
    """One transfer under way."""

    def __init__(self) -> None:
        self.connection: HTTPConnection | None = None

    def cut(self) -> None:
        """End what is being sent or read, from any thread."""
        sock = getattr(self.connection, "sock", None)
        if sock is not None:
            with suppress(OSError):
                # Past SSLSocket.shutdown, which takes the TLS state away from under the reader.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)


class Pool:
    """Makes requests for files. Safe from any thread."""

    def __init__(
        self, connections: int, inactivity: float = INACTIVITY_SECONDS, connect: float = CONNECT_SECONDS
    ) -> None:
        self._size = connections
        self._timeout = urllib3.Timeout(connect=min(connect, inactivity), read=inactivity)
        self._lock = threading.Lock()
        self._managers: dict[str | None, urllib3.PoolManager] = {}
        self._by_server: dict[tuple[str, ...], urllib3.PoolManager] = {}

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for manager in self._managers.values():
            manager.clear()

    def get(
        self, method: str, url: str, headers: dict[str, str], stop: Stop
    ) -> AbstractContextManager[urllib3.BaseHTTPResponse]:
        """The response with its body still to read; redirects are followed, without any login to others."""
        return self._exchange(method, url, stop, headers=headers, retries=_REDIRECTS)

    def post(
        self, method: str, url: str, headers: dict[str, str], body: Any, stop: Stop
    ) -> AbstractContextManager[urllib3.BaseHTTPResponse]:
        """The response to a body that has ``read``; ``headers`` must say its length."""
        return self._exchange(method, url, stop, headers=headers, body=body, retries=False, redirect=False)

    @contextmanager
    def _exchange(
        self, method: str, url: str, stop: Stop, headers: dict[str, str], **more: Any
    ) -> Iterator[urllib3.BaseHTTPResponse]:
        lane = _current.lane = Lane()
        all_headers = {"User-Agent": USER_AGENT, **headers}
        whole = False
        with stop.interrupts(lane.cut):
            response = self._manager(url).request(
                method, url, headers=all_headers, preload_content=False, decode_content=False, **more
            )
            try:
                yield response
                whole = True
            finally:
                _finish(response, whole)

    def _manager(self, url: str) -> urllib3.PoolManager:
        """The manager for the server of that URL; looking for its proxy takes as long as half a request."""
        place = urlsplit(url)[:2]
        with self._lock:
            if place not in self._by_server:
                proxy = select_proxy(url, get_environ_proxies(url))
                if proxy not in self._managers:
                    self._managers[proxy] = self._make(proxy)
                self._by_server[place] = self._managers[proxy]
            return self._by_server[place]

    def _make(self, proxy: str | None) -> urllib3.PoolManager:
        common: dict[str, Any] = {
            "maxsize": self._size,
            "timeout": self._timeout,
            "blocksize": BLOCK,
            "cert_reqs": "CERT_REQUIRED",
            "ca_certs": certificates() or certifi.where(),
        }
        manager = urllib3.ProxyManager(proxy, **common) if proxy else urllib3.PoolManager(**common)
        manager.pool_classes_by_scheme = {"http": _PlainPool, "https": _SecurePool}
        return manager


def _finish(response: urllib3.BaseHTTPResponse, whole: bool) -> None:
    """Give the connection back if nothing is left on it, else close it."""
    if not whole:
        response.close()
    else:
        response.drain_conn() if _short(response) else response.close()
    response.release_conn()


def _short(response: urllib3.BaseHTTPResponse) -> bool:
    left = getattr(response, "length_remaining", None)
    return left is not None and left <= 64 * 1024
