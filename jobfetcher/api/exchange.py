"""One HTTP exchange with the API: a request goes out, and an answer or a typed error comes back."""

from collections.abc import Callable

import urllib3

from jobfetcher.api.connections import USER_AGENT, Connections, EndlessRedirect, finish, turned
from jobfetcher.api.errors import ApiAnswer, Unreachable
from jobfetcher.api.lanes import IDLE_SECONDS, Lane
from jobfetcher.api.troubles import broken, may_have_arrived, reason
from jobfetcher.api.wire import Answer, OnAnswer, Timeout

MAX_BODY = 64 * 1024 * 1024
"""Longest answer that is read, in bytes."""
_PIECE = 64 * 1024
_PATIENCE = 4
"""A whole body may take this many read time-outs: a server that drips bytes is not waited for."""
_KEPT = 256
"""Connections that wait for their next request, at most: as many as threads ever ask at once."""
_REDIRECTS = 30
_HEADERS = {"User-Agent": USER_AGENT, "Accept": "*/*"} | urllib3.make_headers(accept_encoding=True)


class Exchanger:
    """What ``Wire`` sends with. Safe from any thread."""

    def __init__(self, timeout: Timeout, on_answer: OnAnswer, clock: Callable[[], float]) -> None:
        connect, read = timeout
        self._connections = Connections(_KEPT, urllib3.Timeout(connect=connect, read=read))
        self._longest = (connect + read) * _PATIENCE
        self._on_answer = on_answer
        self._clock = clock
        self._used_at = clock()

    def send(self, method: str, url: str, call: str, token: str, again: bool) -> Answer:
        """See ``Wire.send``."""
        lane = Lane(self._clock())
        if lane.now - self._used_at >= IDLE_SECONDS:
            self._connections.close()  # what a burst left
        try:
            return self._heard(lane, method, url, call, token)
        except Unreachable as error:
            if not (again and lane.reused and broken(error.__cause__)):
                raise
        return self._heard(Lane(self._clock(), fresh=True), method, url, call, token)

    def close(self) -> None:
        """Close all connections; the next request opens new ones."""
        self._connections.close()

    def _heard(self, lane: Lane, method: str, url: str, call: str, token: str) -> Answer:
        self._used_at = lane.now
        status = None
        try:
            answer = self._exchange(lane, method, url, call, token)
            status = answer.status
        finally:
            self._on_answer(method, url, status)
        return answer

    def _exchange(self, lane: Lane, method: str, url: str, call: str, token: str) -> Answer:
        headers = {**_HEADERS, "Authorization": f"Bearer {token}"} if token else _HEADERS
        try:
            response = self._connections.send(lane, method, url, headers, follow=_REDIRECTS)
            return self._answer(lane, response, method, call)
        except EndlessRedirect as error:
            raise ApiAnswer(call, 310, "It redirects for ever; check API_URL.") from error
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise Unreachable(call, reason(error), sent=may_have_arrived(error)) from error

    def _answer(self, lane: Lane, response: urllib3.BaseHTTPResponse, method: str, call: str) -> Answer:
        whole = False
        try:
            if turned(response, method):  # as a GET it would have stored nothing
                wrong = "It redirects to another address; set API_URL to that one."
                raise ApiAnswer(call, response.status, wrong)
            body = self._read(response, call, lane.now + self._longest)
            whole = True
        finally:
            lane.end(self._clock())
            finish(response, whole)
        headers = {name.lower(): value for name, value in response.headers.items()}
        return Answer(call, response.status, headers, body)

    def _read(self, response: urllib3.BaseHTTPResponse, call: str, deadline: float) -> bytes:
        body = bytearray()
        while piece := response.read1(_PIECE, decode_content=True):
            body += piece
            if len(body) > MAX_BODY:
                raise ApiAnswer(call, response.status, "The answer is too long to be one of the API.")
            if self._clock() > deadline:
                raise Unreachable(call, "the answer comes too slowly", sent=True)
        return bytes(body)
