"""What the engine's answer is read from, piece by piece."""

import http.client
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import requests
import urllib3.exceptions

from jobfetcher.runners.engine import StreamBroken

CHUNK = 64 * 1024


class Response:
    """Implements ``jobfetcher.runners.engine.Stream`` over the body of an answer, as urllib3 has it."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw

    def wait_for_ever(self) -> None:
        """From now on no silence breaks the stream."""
        connection = self._raw.connection
        if connection is not None and connection.sock is not None:
            connection.sock.settimeout(None)

    def chunks(self) -> Iterator[bytes]:
        """What is there is passed on at once; a piece is at most 64 KiB."""
        try:
            while piece := self._raw.read1(CHUNK):
                yield piece
        except (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError, ValueError) as error:
            raise StreamBroken(f"the connection to the engine broke off ({error})") from error

    def shutdown(self) -> None:
        # It may have ended by itself in the meantime.
        with suppress(ValueError, RuntimeError, OSError):
            self._raw.shutdown()


def explanation(answer: requests.Response) -> str:
    """Why the engine refuses, in its own words."""
    try:
        return str(answer.json()["message"])
    except (ValueError, KeyError, TypeError):
        return answer.text or f"status {answer.status_code}"
