"""One stream of events for all containers of a worker, kept open by one thread while they come.

It does two things, and proves nothing by either. It wakes those who wait for a container; inspection decides.
And as long as it lives, the engine's life need not be asked for again to be *noted*: what was noted too early
is at worst a life that has passed, and no exit is believed within that. Believing an exit takes a fresh
question (``ContainerRunner.wait``), for a stream also lives on in an engine that is shutting down.
"""

import json
import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

from jobfetcher.runners.engine import Bell, Engine, Stream, StreamBroken

log = logging.getLogger(__name__)


class OneStream:
    """Implements ``jobfetcher.runners.engine.Watch`` for the containers with ``labels``.

    The stream is opened by whoever first needs it. It ends with the engine, and after a silence; then all
    who wait are woken to look, and the next who needs it opens it anew. Nobody needs it: it stays closed.
    """

    def __init__(self, engine: Engine, labels: Mapping[str, str]) -> None:
        self._engine = engine
        self._labels = dict(labels)
        self._opening = threading.Lock()
        self._lock = threading.Lock()
        self._bells: dict[str, list[threading.Event]] = {}
        self._open: Stream | None = None
        self._life = ""

    def life(self) -> str:
        """The engine's life, perhaps of a moment ago. Opens the stream. Raises ``Paused``."""
        with self._opening:
            with self._lock:
                if self._open is not None:
                    return self._life
            return self._begin()

    def renew(self) -> None:
        """Forget the stream and what was noted with it."""
        with self._lock:
            stream, self._open = self._open, None
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
                self._open, self._life = stream, life
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
                for container in _containers(stream.chunks()):
                    self._ring(container)
        except StreamBroken:
            pass  # also after a silence
        except Exception:
            log.exception("events.bug")
        finally:
            self._ended(stream)

    def _ring(self, container: str) -> None:
        with self._lock:
            for bell in self._bells.get(container, ()):
                bell.set()

    def _ended(self, stream: Stream) -> None:
        with self._lock:
            if self._open is stream:
                self._open = None
            for bell in (bell for bells in self._bells.values() for bell in bells):
                bell.set()


def _containers(chunks: Iterator[bytes]) -> Iterator[str]:
    """The container's id of each event."""
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line.strip():
                yield str(json.loads(line)["Actor"]["ID"])
