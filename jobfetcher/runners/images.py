"""Makes a job's image present. The engine hides a failed pull behind an old image; this does not."""

import json
import logging
import re
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Literal, Protocol

from jobfetcher.failpoints import failpoint
from jobfetcher.progress import Meter, Share, metered
from jobfetcher.runners.engine import Engine, Refused, Stream, StreamBroken, Unanswered
from states.errors import JobFailed, Paused
from states.ports import Stop

log = logging.getLogger(__name__)

PullPolicy = Literal["always", "missing", "never"]
BACKOFF = (1.0, 4.0, 15.0)
"""Seconds before each further try of a pull whose failure may pass."""
_PASSING = (
    "timeout", "timed out", "broke off", "connection re", "eof", "temporary failure", "too many requests",
    "toomanyrequests", "server misbehaving", "no such host", "unreachable", "broken pipe", "try again",
    "bad gateway", "service unavailable", "internal server error", "gateway time-out",
)  # fmt: skip

_PART = r"[A-Za-z0-9]+(?:(?:[._]|__|-+)[A-Za-z0-9]+)*"
_REPOSITORY = re.compile(rf"(?:(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\])(?::\d+)?/)?{_PART}(?:/{_PART})*")
"""As the registries' grammar has it, but for capitals: of those the engine itself says what is wrong."""
_TAG = re.compile(r"\w[\w.-]{0,127}", re.ASCII)
_DIGEST = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9A-Fa-f]+")
_LONGEST = 255
"""Characters of a repository's name, or of a digest."""
_SHOWN = 80
"""Characters of an unusable name that a message repeats."""


class PullFailed(Exception):
    """The message is the registry's or the engine's reason."""

    @property
    def may_pass(self) -> bool:
        """The same pull may succeed later."""
        return any(sign in str(self).lower() for sign in _PASSING)


def reference(image: str) -> tuple[str, str]:
    """Repository and tag (or digest) of an image's name; without a tag it is ``latest``.

    Raises ``JobFailed`` where no image can have that name.
    """
    name = image.strip()
    repository, at, digest = name.partition("@")
    head, colon, tag = repository.rpartition(":")
    if not colon or "/" in tag:
        head, tag = repository, "latest"
    right = _DIGEST.fullmatch(digest) if at else _TAG.fullmatch(tag)
    if not right or max(len(head), len(digest)) > _LONGEST or not _REPOSITORY.fullmatch(head):
        shown = f"{image[:_SHOWN]!r}, {len(image)} characters" if len(image) > _SHOWN else f"{image!r}"
        raise JobFailed(f"The job names no usable image ({shown}).")
    return head, digest if at else tag


def full_name(repository: str, tag: str) -> str:
    """What an engine calls the image."""
    return f"{repository}{'@' if ':' in tag else ':'}{tag}"


class Account(Protocol):
    """Keeps account of the images that pulls have brought."""

    def before_layers(self) -> Collection[str]:
        """Layers are about to come. Exact ids of the images that the engine has until then."""

    def arrived(self, image_id: str, name: str, before: Collection[str] | None) -> None:
        """A job wants this image. ``before``: what was there before its layers came; None: none came."""


class Images:
    """Pulls images and knows their exact ids."""

    def __init__(
        self,
        engine: Engine,
        policy: PullPolicy = "always",
        backoff: Sequence[float] = BACKOFF,
        account: Account | None = None,
    ) -> None:
        self._engine = engine
        self._policy = policy
        self._backoff = backoff
        self._account = account

    def prepare(self, image: str, stop: Stop) -> str:
        """Pull ``image`` and return its exact id.

        A pull that fails is a warning as long as there is a local image of that name, else ``JobFailed``.
        """
        repository, tag = reference(image)
        before: list[Collection[str]] = []
        account = self._account
        found = self._prepare(
            image, stop, (lambda: before.append(account.before_layers())) if account else lambda: None
        )
        if account:
            account.arrived(found, full_name(repository, tag), before[0] if before else None)
        return found

    def _prepare(self, image: str, stop: Stop, on_layers: Callable[[], object]) -> str:
        if self._policy != "always":
            local = self._local(image)
            if local or self._policy == "never":
                return local or _missing(image, "pulling is switched off, and the engine does not have it")
        with metered("pull") as meter:
            return self._pulled(image, Layers(meter, on_layers), stop, self._backoff)

    def _local(self, image: str) -> str | None:
        return self._engine.image_id(full_name(*reference(image)))

    def _pulled(self, image: str, layers: "Layers", stop: Stop, pauses: Sequence[float]) -> str:
        """The image that the pull brought, or after a failed one the image that is here. With an image at
        hand the job need not wait for a registry that is away."""
        stop.check()
        try:
            _Pull(self._engine, *reference(image), layers).run(stop)
        except PullFailed as failure:
            if local := self._local(image):
                log.warning("pull.failed", extra={"image": image, "reason": str(failure), "used": local})
                return local
            if not (pauses and failure.may_pass):
                return _missing(image, str(failure))
            log.info("pull.again", extra={"image": image, "reason": str(failure)})
            stop.wait(pauses[0])
            return self._pulled(image, layers, stop, pauses[1:])
        return self._local(image) or _missing(image, "it is gone right after the pull")


class _Pull:
    """One pull in a thread of its own: the engine may be silent for minutes before its answer begins."""

    def __init__(self, engine: Engine, repository: str, tag: str, layers: "Layers") -> None:
        self._engine, self._repository, self._tag = engine, repository, tag
        self._layers = layers
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._stream: Stream | None = None
        self._cancelled = False
        self._error: Exception | None = None

    def run(self, stop: Stop) -> None:
        """Raises ``PullFailed``; with the stop's error it leaves the pull to end by itself, soon."""
        failpoint("docker.pull-started")
        threading.Thread(target=self._listen, name=f"pull {self._repository}", daemon=True).start()
        with stop.interrupts(self._over.set):
            self._over.wait()
        if stop.is_set():
            self._cancel()
            stop.check()
        if self._error is not None:
            raise self._error
        failpoint("docker.pulled")

    def _cancel(self) -> None:
        """Closing the connection is the only way to end a pull."""
        with self._lock:
            self._cancelled = True
            if self._stream is not None:
                self._stream.shutdown()

    def _listen(self) -> None:
        try:
            with self._engine.pull(self._repository, self._tag) as stream:
                if self._adopt(stream):
                    _follow(stream.chunks(), self._layers)
        except (Refused, StreamBroken, Unanswered) as refusal:
            self._error = PullFailed(str(refusal))
        except (PullFailed, Paused) as error:
            self._error = error
        except Exception as bug:
            log.exception("pull.bug")
            self._error = bug
        finally:
            with self._lock:
                self._stream = None
            self._over.set()

    def _adopt(self, stream: Stream) -> bool:
        with self._lock:
            self._stream = stream
            return not self._cancelled


class Layers:
    """The layers of an image on its way, in a meter: what the engine says of each, summed up.

    ``on_first`` is called before the first one comes.
    """

    def __init__(self, meter: Meter, on_first: Callable[[], object] = lambda: None) -> None:
        self._meter = meter
        self._on_first = on_first
        self._layers: dict[str, Share] = {}
        self._whole: set[str] = set()

    def hear(self, said: Mapping[str, Any]) -> None:
        """One message of the engine. Layers that it has already have no part in the pull."""
        layer, status = str(said.get("id") or ""), said.get("status")
        if status == "Pulling fs layer" and layer not in self._layers:
            if not self._layers:
                self._on_first()
            self._meter.plan(1)
            self._layers[layer] = self._meter.share()
        if layer not in self._layers or layer in self._whole:
            return
        if status == "Downloading":
            self._move(self._layers[layer], said.get("progressDetail") or {})
        elif status in ("Download complete", "Pull complete", "Already exists"):
            self._whole.add(layer)
            self._layers[layer].end()

    def _move(self, share: Share, detail: Mapping[str, Any]) -> None:
        current, total = detail.get("current"), detail.get("total")
        if isinstance(total, int) and total > 0:
            share.expects(total)
        if isinstance(current, int):
            share.at(current)


def _follow(chunks: Iterator[bytes], layers: Layers) -> None:
    """Read the pull to its end. Raises ``PullFailed`` with what the stream says of an error."""
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            layers.hear(_checked(line))
    layers.hear(_checked(rest))


def _checked(line: bytes) -> dict[str, Any]:
    """What the line says. Raises ``PullFailed`` if that is an error."""
    if not line.strip():
        return {}
    try:
        said = json.loads(line)
    except ValueError as error:
        raise PullFailed("the connection to the engine broke off (unexpected EOF)") from error
    if reason := (said.get("errorDetail") or {}).get("message") or said.get("error"):
        raise PullFailed(str(reason))
    return dict(said)


def _missing(image: str, reason: str) -> str:
    raise JobFailed(f"The image '{image}' cannot be pulled: {reason.strip().rstrip('.')}.")
