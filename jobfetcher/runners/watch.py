"""One stream of events for all containers of a worker, kept open by one thread while the engine lives.

It does three things. It wakes those who wait for a container. As long as it lives, the engine's life need not
be asked for again to be *noted*: what was noted too early is at worst a life that has passed, and no exit is
believed within that. And it tells the ``Story`` of a container whose start it has heard.

A story says what an inspection would. The engine makes the event and the container's state from the same
values, the event first, while it holds the container's lock. So of a container that was started on this
stream, and of which nothing else is said but its end, inspection says the same, only later: once the engine
has torn the network down. Neither of the two says whether the engine ended the container in order to stop:
believing an exit takes a fresh question (``vigil.py``), for a stream also lives on in an engine that is
shutting down. And the end of the stream proves nothing.
"""

import json
import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from jobfetcher.runners.engine import Bell, Engine, Stream, StreamBroken
from jobfetcher.runners.story import Stories, Story

log = logging.getLogger(__name__)

_WAKING = {"die", "destroy"}


class OneStream:
    """Implements ``jobfetcher.runners.engine.Watch`` for the containers with ``labels``.

    The stream is opened by whoever first needs it. It ends with the engine; then all who wait are woken to
    look, and the next who needs it opens it anew. Nobody needs it: it stays closed.
    """

    def __init__(self, engine: Engine, labels: Mapping[str, str]) -> None:
        self._engine = engine
        self._labels = dict(labels)
        self._opening = threading.Lock()
        self._lock = threading.Condition()
        self._bells: dict[str, list[threading.Event]] = {}
        self._open: Stream | None = None
        self._life = ""
        self._stories = Stories()
        """Those of the open stream."""

    def life(self) -> str:
        """The engine's life, perhaps of a moment ago. Opens the stream. Raises ``Paused``."""
        with self._opening:
            with self._lock:
                if self._open is not None:
                    return self._life
            return self._begin()

    def story(self, container: str, seconds: float = 0) -> Story | None:
        """What the open stream has told of the container since its start; None where it proves nothing.

        ``seconds``: how long to wait for the first word of it.
        """
        with self._lock:
            self._lock.wait_for(lambda: self._stories.knows(container) or self._open is None, seconds)
            return self._stories.of(container)

    def renew(self) -> None:
        """Forget the stream and what was noted with it."""
        with self._lock:
            stream, self._open, self._stories = self._open, None, Stories()
            self._lock.notify_all()
        if stream is not None:
            stream.shutdown()

    @contextmanager
    def expecting(self, container: str) -> Iterator[Bell]:
        """A bell for the container's end. Whoever looks within the block, and then waits for the bell,
        misses no end. Raises ``Paused``."""
        bell = threading.Event()
        with self._lock:
            self._bells.setdefault(container, []).append(bell)
        try:
            self.life()
            yield bell
        finally:
            with self._lock:
                self._bells[container].remove(bell)
                if not self._bells[container]:
                    del self._bells[container]

    def _begin(self) -> str:
        """The stream comes first: an engine that restarts after it was asked for its life breaks it."""
        opened = ExitStack()
        try:
            stream = opened.enter_context(self._engine.events(self._labels))
            life = self._engine.life()
            with self._lock:
                self._open, self._life, self._stories = stream, life, Stories()
            arguments = (stream, opened)
            threading.Thread(target=self._listen, args=arguments, name="engine events", daemon=True).start()
        except BaseException:
            self.renew()
            opened.close()
            raise
        return life

    def _listen(self, stream: Stream, opened: ExitStack) -> None:
        """Body of the stream's thread."""
        try:
            with opened:
                for event in _events(stream.chunks()):
                    self._hear(stream, event)
        except StreamBroken:
            pass
        except Exception:
            log.exception("events.bug")
        finally:
            self._ended(stream)

    def _hear(self, stream: Stream, event: Mapping[str, Any]) -> None:
        with self._lock:
            if self._open is stream:
                self._stories.hear(event)
                self._lock.notify_all()
            if event.get("Action") in _WAKING:
                for bell in self._bells.get(str(event["Actor"]["ID"]), ()):
                    bell.set()

    def _ended(self, stream: Stream) -> None:
        with self._lock:
            if self._open is stream:
                self._open, self._stories = None, Stories()
            self._lock.notify_all()
            for bell in (bell for bells in self._bells.values() for bell in bells):
                bell.set()


def _events(chunks: Iterator[bytes]) -> Iterator[dict[str, Any]]:
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line.strip():
                yield json.loads(line)
