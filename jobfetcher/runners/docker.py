"""The Docker engine through docker-py's low-level client. The only file that imports docker.

Every request has a time-out and a connection of its own: an engine that is told to stop closes its door
before it ends its containers, and still answers on old connections meanwhile. A client is used by one thread
at a time and kept for the next; streams are read from the response itself, because docker-py switches their
time-outs off. Only the stream of all events may be silent for ever.
"""

import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any

import docker
import docker.auth
import docker.errors
import requests
from docker.constants import MINIMUM_DOCKER_API_VERSION

from jobfetcher.runners.config import Limits, half_of_memory
from jobfetcher.runners.containers import ContainerRunner
from jobfetcher.runners.engine import Conflict, NotThere, Refused, Stream, StreamBroken, Unanswered
from jobfetcher.runners.epoch import listener
from jobfetcher.runners.images import BACKOFF, Account, Images, PullPolicy
from jobfetcher.runners.response import Response, explanation
from jobfetcher.runners.unix_socket import AWAY, UNIX, UnixSocketAdapter, ping
from states.errors import Paused

DEFAULT_URL = "unix:///var/run/docker.sock"
CALL_SECONDS = 60.0
"""Time-out of an ordinary request."""
SILENCE_SECONDS = 30.0
"""A stream that does not begin, or says nothing for so long, is given up."""
IDLE_PULL_SECONDS = 120.0
"""A pull that makes no progress for so long has failed."""
SLACK_SECONDS = 5.0
"""Events this old are sent again, so that none falls between the request and the subscription."""
MEMORY_SECONDS = 5.0
"""How long an engine may take to remember what it has told."""
LATE_SECONDS = 0.5
"""How late the news that memory ran out may come after the exit."""


class DockerRunner(ContainerRunner):
    """Runs jobs in containers of a Docker engine.

    ``base_url`` is the engine's address; None means ``DOCKER_HOST``, else the usual socket. ``shm_size``
    and ``memory`` are bytes; ``shm_size`` defaults to half of the memory, at most 8 GiB.
    """

    def __init__(
        self,
        worker: str,
        host_path: Callable[[Path], Path] = lambda folder: folder,
        *,
        base_url: str | None = None,
        ipc_mode: str = "private",
        shm_size: int | None = None,
        network: str | None = None,
        memory: int | None = None,
        pull: PullPolicy = "always",
        pull_backoff: Sequence[float] = BACKOFF,
        account: Account | None = None,
    ) -> None:
        self.engine = DockerEngine(base_url)
        limits = Limits(ipc_mode, shm_size or half_of_memory(), network, memory)
        images = Images(self.engine, pull, pull_backoff, account)
        super().__init__(self.engine, worker, host_path, images, limits)

    def ping(self) -> None:
        """Raise ``Paused`` with a sentence that says what is wrong if no engine answers."""
        self.engine.ping()

    def version(self) -> str:
        """The engine's version. Raises ``Paused`` as ``ping`` does."""
        return str(self.engine.version()["Version"])

    def close(self) -> None:
        """End the stream of events and forget the idle clients. Nothing depends on it."""
        self._watch.renew()
        self.engine.close()


class DockerEngine:
    """Implements ``jobfetcher.runners.engine.Engine``. An ordinary request has ``call_seconds``."""

    def __init__(self, base_url: str | None = None, call_seconds: float = CALL_SECONDS) -> None:
        self.base_url = base_url or os.environ.get("DOCKER_HOST") or DEFAULT_URL
        self._call_seconds = call_seconds
        self._lock = threading.Lock()
        self._idle: list[docker.APIClient] = []
        self._version = ""
        self._life: tuple[str, str] | None = None
        """The sign by which a life of the engine is known, and its name."""
        self._root: Path | None = None

    def close(self) -> None:
        with self._lock:
            self._idle.clear()

    def ping(self) -> None:
        """Raise ``Paused`` if no engine answers. Much cheaper for it than ``version``."""
        if self.base_url.startswith(UNIX):
            ping(self.base_url.removeprefix(UNIX), self._call_seconds)
        else:
            with self._asking() as client:
                client.ping()

    def version(self) -> dict[str, Any]:
        with self._asking() as client:
            return client.version()

    def life(self) -> str:
        """The engine makes its default network anew at each start, except where live-restore keeps
        containers running; live-restore is named, for with it a restart ends no container. Engines
        without that network are told apart by the process that listens on the socket.
        """
        with self._asking() as client:
            sign = _network_birth(client) or listener(self.base_url.removeprefix(UNIX))
            known = self._life
            if known is None or known[0] != sign:
                known = self._life = (sign, _life(client.info(), sign))
            return known[1]

    def inspect(self, container: str) -> dict[str, Any] | None:
        with self._asking() as client:
            try:
                found: dict[str, Any] = client.inspect_container(container)
            except docker.errors.NotFound:
                return None
            return found

    def listed(self, labels: Mapping[str, str]) -> list[dict[str, Any]]:
        wanted = [f"{name}={value}" for name, value in labels.items()]
        with self._asking() as client:
            return list(client.containers(all=True, filters={"label": wanted}))

    def create(self, name: str, config: Mapping[str, Any]) -> str:
        with self._telling() as client:
            made = client.create_container_from_config(dict(config), name=name)  # type: ignore[no-untyped-call] # stubs
            return str(made["Id"])

    def start(self, container: str) -> None:
        with self._telling() as client:
            client.start(container)

    def stop(self, container: str, grace_seconds: float) -> None:
        with self._telling() as client:
            client.stop(container, timeout=int(grace_seconds))

    def kill(self, container: str) -> None:
        with self._telling() as client:
            client.kill(container)

    def remove(self, container: str) -> None:
        with self._telling() as client:
            client.remove_container(container, force=True, v=True)

    def image_id(self, reference: str) -> str | None:
        found = self.image(reference)
        return None if found is None else str(found["Id"])

    def image(self, name: str) -> dict[str, Any] | None:
        """The engine's account of an image by its id or a reference; None if there is none."""
        with self._asking() as client:
            try:
                return dict(client.inspect_image(name))  # type: ignore[no-untyped-call] # stubs
            except docker.errors.APIError as error:
                if error.status_code == 404 or _names_none(str(error.explanation)):
                    return None
                raise

    def remove_image(self, name: str) -> None:
        """Remove a reference, and with its last one the image; never by force."""
        with self._telling() as client:
            client.remove_image(name)

    def root(self) -> Path | None:
        """Where an engine of this machine keeps its images. It need not be visible from here."""
        if self._root is None and self.base_url.startswith(UNIX):
            with self._asking() as client:
                self._root = Path(client.info()["DockerRootDir"])
        return self._root

    def local_images(self) -> list[str]:
        """Exact ids of the images that the engine has, smallest first."""
        with self._asking() as client:
            return [str(image["Id"]) for image in sorted(client.images(), key=lambda image: image["Size"])]

    def check_registry(self, image: str) -> None:
        """Ask the image's registry for it, without pulling. Raises ``Refused`` with the registry's reason."""
        with self._telling() as client:
            client.inspect_distribution(image)  # type: ignore[no-untyped-call] # missing in the stubs

    @contextmanager
    def pull(self, repository: str, tag: str) -> Iterator[Stream]:
        with self._telling() as client:
            try:
                registry, _ = docker.auth.resolve_repository_name(repository)
                login = docker.auth.get_config_header(client, registry)
            except docker.errors.DockerException as error:
                raise Refused(str(error), 400) from error
            headers = {"X-Registry-Auth": login} if login else {}
            wanted = {"fromImage": repository, "tag": tag}
            with self._stream(client, "POST", "/images/create", wanted, IDLE_PULL_SECONDS, headers) as stream:
                yield stream

    @contextmanager
    def events(self, labels: Mapping[str, str]) -> Iterator[Stream]:
        wanted = [f"{name}={value}" for name, value in labels.items()]
        filters = json.dumps({"label": wanted, "type": ["container"]})
        since = f"{time.time() - SLACK_SECONDS:.3f}"
        asked = ("GET", "/events", {"filters": filters, "since": since}, SILENCE_SECONDS)
        with self._asking() as client, self._stream(client, *asked) as stream:
            stream.wait_for_ever()
            yield stream

    def remembers(self, container: str, moment: int) -> bool:
        """An engine keeps its latest 256 events, in memory only. One whose clock was put back in the meantime
        is silent."""
        then = f"{moment // 10**9}.{moment % 10**9:09}"
        try:
            return self._told(container, "die", then, then, MEMORY_SECONDS)
        except StreamBroken:
            return False

    def out_of_memory(self, container: str) -> bool:
        until = f"{time.time() + LATE_SECONDS:.3f}"
        try:
            return self._told(container, "oom", "0", until, SILENCE_SECONDS)
        except StreamBroken as broken:
            raise Unanswered(f"The Docker engine at {self.base_url} does not answer ({broken}).") from broken

    def _told(self, container: str, event: str, since: str, until: str, seconds: float) -> bool:
        filters = json.dumps({"container": [container], "event": [event]})
        asked = {"filters": filters, "since": since, "until": until}
        with (
            self._asking() as client,
            self._stream(client, "GET", "/events", asked, seconds) as stream,
        ):
            return any(piece.strip() for piece in stream.chunks())

    def output(self, container: str, follow: bool = False) -> AbstractContextManager[Stream]:
        """``follow``: also what it writes from now on, however long it is silent, until it ends."""
        return self._log(container, {"follow": str(int(follow))}, None if follow else CALL_SECONDS)

    def tail(self, container: str, lines: int) -> AbstractContextManager[Stream]:
        """The last ``lines`` of what it wrote until now."""
        return self._log(container, {"follow": "0", "tail": str(lines)}, SILENCE_SECONDS)

    @contextmanager
    def _log(self, container: str, part: Mapping[str, str], seconds: float | None) -> Iterator[Stream]:
        asked = ("GET", f"/containers/{container}/logs", {"stdout": "1", "stderr": "1", **part}, seconds)
        with self._telling() as client, self._stream(client, *asked) as stream:
            yield stream

    @contextmanager
    def _stream(
        self,
        client: docker.APIClient,
        method: str,
        path: str,
        params: Mapping[str, str],
        seconds: float | None,
        headers: Mapping[str, str | bytes] | None = None,
    ) -> Iterator[Response]:
        url = f"{client.base_url}/v{client.api_version}{path}"
        with client.request(
            method, url, params=dict(params), headers=headers, stream=True, timeout=seconds
        ) as answer:
            if not answer.ok:
                raise _refusal(answer.status_code, explanation(answer))
            yield Response(answer.raw)

    @contextmanager
    def _asking(self) -> Iterator[docker.APIClient]:
        """For requests that change nothing: whatever goes wrong in the engine, try again later."""
        try:
            with self._telling() as client:
                yield client
        except Refused as refusal:
            raise Paused(f"The Docker engine has trouble: {refusal}") from refusal

    @contextmanager
    def _telling(self) -> Iterator[docker.APIClient]:
        client = None
        try:
            client = self._take()
            yield client
        except (requests.RequestException, docker.errors.DockerException) as error:
            raise self._translated(error) from error
        finally:
            if client is not None:
                self._give(client)

    def _take(self) -> docker.APIClient:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        if not self._version:
            with closing(self._client(MINIMUM_DOCKER_API_VERSION)) as any_version:
                self._version = str(any_version.version(api_version=False)["ApiVersion"])
        return self._client(self._version)

    def _client(self, version: str) -> docker.APIClient:
        """Sends nothing yet."""
        seconds = int(self._call_seconds)
        client = docker.APIClient(base_url=self.base_url, version=version, timeout=seconds)
        if self.base_url.startswith(UNIX):
            client.mount("http+docker://", UnixSocketAdapter(self.base_url.removeprefix(UNIX)))
            client.trust_env = False  # it looks for proxies and passwords at every request
        return client

    def _give(self, client: docker.APIClient) -> None:
        # docker-py keeps a connection for each URL it ever asked; closing drops them, and only them.
        client.close()
        with self._lock:
            self._idle.append(client)

    def _translated(self, error: Exception) -> Exception:
        if isinstance(error, docker.errors.APIError):
            return _refusal(error.status_code or 500, str(error.explanation or error))
        if "refused" in str(error):
            return Paused(AWAY.format(self.base_url))
        return Unanswered(f"The Docker engine at {self.base_url} does not answer ({error}).")


def _names_none(reason: str) -> bool:
    """No image has such a name, or can have it; the engine says so with a 500."""
    return "invalid reference" in reason or reason.lower().startswith("no such image")


def _network_birth(client: docker.APIClient) -> str:
    try:
        return str(client.inspect_network("bridge")["Created"])
    except docker.errors.NotFound:
        return ""


def _life(info: Mapping[str, Any], sign: str) -> str:
    return f"{info['ID']}/{'live-restore' if info.get('LiveRestoreEnabled') else sign}"


def _refusal(status: int, reason: str) -> Refused:
    kind = {404: NotThere, 409: Conflict}.get(status, Refused)
    return kind(reason, status)
