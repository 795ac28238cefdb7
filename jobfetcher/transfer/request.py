"""The request for one file, asked for once and used by all who receive of it until it is refused."""

import threading
from collections.abc import Callable

from states.ports import FileRequest


class Requests:
    """Safe from any thread; one asks at a time."""

    def __init__(self) -> None:
        self._asking = threading.Lock()
        self._lock = threading.Lock()
        self._request: FileRequest | None = None
        self._accepted = False

    def get(self, ask: Callable[[], FileRequest]) -> FileRequest:
        """The request that is good as far as is known, else what ``ask`` says."""
        with self._asking:
            return self._request or self._new(ask)

    def get_at_once(self, ask: Callable[[], FileRequest]) -> FileRequest | None:
        """The same; None if somebody else is asking."""
        if (request := self._request) is not None:
            return request
        if not self._asking.acquire(blocking=False):
            return None
        try:
            return self._request or self._new(ask)
        finally:
            self._asking.release()

    def accepted(self, request: FileRequest) -> None:
        """The server took it."""
        with self._lock:
            self._accepted = self._accepted or request is self._request

    def forget(self, request: FileRequest | None = None) -> bool:
        """That request (None: any) is no good any more. False if it never was."""
        with self._lock:
            if request is not None and request is not self._request:
                return True
            self._request = None
            return self._accepted

    def _new(self, ask: Callable[[], FileRequest]) -> FileRequest:
        request = ask()
        with self._lock:
            self._request, self._accepted = request, False
        return request
