"""HTTP to an engine that listens on a Unix socket, for a session of requests.

docker-py has the like. This one says in words why there is no connection, and leaves no socket open then.
"""

import socket
from collections.abc import Mapping
from typing import Any

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection

from jobfetcher.runners.engine import Unanswered
from states.errors import Paused

UNIX = "unix://"
AWAY = "No Docker engine answers at {}: start it, or set DOCKER_HOST."
FORBIDDEN = "No permission on the Docker engine at {}: add this account to the group docker."
PING = b"GET /_ping HTTP/1.0\r\nHost: localhost\r\n\r\n"


def ping(path: str, seconds: float) -> None:
    """Raise ``Paused`` unless an engine on the socket answers in time that it is well.

    Asked with each question for jobs, so by hand: the way of a whole HTTP client is ten times as long.
    """
    with _connected(path, seconds) as line:
        try:
            line.sendall(PING)
            with line.makefile("rb") as answer:
                said = answer.readline(1000).decode("latin-1").strip()
        except OSError as error:
            raise Unanswered(f"The Docker engine at {UNIX}{path} does not answer ({error}).") from error
    if said.split()[1:2] != ["200"]:
        raise Paused(f"The Docker engine at {UNIX}{path} has trouble: {said or 'it hung up'}.")


class UnixSocketAdapter(HTTPAdapter):
    """Sends every request to the socket ``path``. Raises ``Paused`` if nobody listens there."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path
        self._pool = _Pool(path)

    def get_connection_with_tls_context(
        self,
        request: requests.PreparedRequest,
        verify: bool | str | None,
        proxies: Mapping[str, str] | None = None,
        cert: Any = None,
    ) -> urllib3.HTTPConnectionPool:
        return self._pool

    def request_url(self, request: requests.PreparedRequest, proxies: Mapping[str, str] | None) -> str:
        return request.path_url

    def close(self) -> None:
        """Close the connection; the next request makes another."""
        super().close()
        self._pool.close()
        self._pool = _Pool(self._path)


class _Pool(urllib3.HTTPConnectionPool):
    def __init__(self, path: str) -> None:
        super().__init__("localhost")
        self._path = path

    def _new_conn(self) -> HTTPConnection:
        return _Connection(self._path)


class _Connection(HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        self.sock = _connected(self._path, self.timeout if isinstance(self.timeout, int | float) else None)


def _connected(path: str, seconds: float | None) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.settimeout(seconds)
        connection.connect(path)
    except OSError as error:
        connection.close()
        said = FORBIDDEN if isinstance(error, PermissionError) else AWAY
        raise Paused(said.format(f"{UNIX}{path}")) from error
    return connection
