"""What the engine's answer is read from, piece by piece."""

import http.client
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import urllib3.exceptions

from jobfetcher.runners.engine import StreamBroken

CHUNK = 64 * 1024


class Response:
    """Implements ``jobfetcher.runners.engine.Stream`` over the body of an answer, as urllib3 has it."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw

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
