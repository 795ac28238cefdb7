"""The Docker engine through docker-py's low-level client. The only file that imports docker.

Every request has a time-out. A client is used by one thread at a time and kept for the next; streams are
read from the response itself, because docker-py switches their time-outs off.
"""

import http.client
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import docker
import docker.auth
import docker.errors
import requests
import urllib3.exceptions

from jobfetcher.runners.config import Limits
from jobfetcher.runners.containers import ContainerRunner
from jobfetcher.runners.engine import Conflict, NotThere, Refused, Stream, StreamBroken, Unanswered
from jobfetcher.runners.epoch import listener
from jobfetcher.runners.images import BACKOFF, Images, PullPolicy
from states.errors import Paused

UNIX = "unix://"
DEFAULT_URL = "unix:///var/run/docker.sock"
AWAY = "No Docker engine answers at {}: start it, or set DOCKER_HOST."
FORBIDDEN = "No permission on the Docker engine at {}: add this account to the group docker."
CALL_SECONDS = 60.0
"""Time-out of an ordinary request."""
LOOK_SECONDS = 30.0
"""A wait looks again after this time, even if the engine said nothing."""
IDLE_PULL_SECONDS = 120.0
"""A pull that makes no progress for so long has failed."""
CHUNK = 64 * 1024
SLACK_SECONDS = 5.0
"""Events this old are sent again, so that none falls between the request and the subscription."""


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
    ) -> None:
        self.engine = DockerEngine(base_url)
        limits = Limits(ipc_mode, shm_size or _half_of_memory(), network, memory)
        super().__init__(self.engine, worker, host_path, Images(self.engine, pull, pull_backoff), limits)

    def ping(self) -> None:
        """Raise ``Paused`` with a sentence that says what is wrong if no engine answers."""
        self.engine.version()

    def version(self) -> str:
        """The engine's version. Raises ``Paused`` as ``ping`` does."""
        return str(self.engine.version()["Version"])

    def close(self) -> None:
        """Forget the idle clients. No connection stays open between calls, so nothing depends on it."""
        self.engine.close()


class DockerEngine:
    """Implements ``jobfetcher.runners.engine.Engine``. An ordinary request has ``call_seconds``."""

    def __init__(self, base_url: str | None = None, call_seconds: float = CALL_SECONDS) -> None:
        self.base_url = base_url or os.environ.get("DOCKER_HOST") or DEFAULT_URL
        self._call_seconds = call_seconds
        self._lock = threading.Lock()
        self._idle: list[docker.APIClient] = []
        self._version = "auto"
        self._life: tuple[tuple[str, str], str] = (("", ""), "")

    def close(self) -> None:
        with self._lock:
            self._idle.clear()

    def version(self) -> dict[str, Any]:
        with self._asking() as client:
            return client.version()

    def life(self) -> str:
        """The engine makes its default network anew at each start, except where live-restore keeps
        containers running; live-restore is named, for with it a restart ends no container. Engines
        without that network are told apart by the process that listens on the socket.
        """
        process = listener(self.base_url.removeprefix(UNIX)) if self.base_url.startswith(UNIX) else ""
        with self._asking() as client:
            sign = (_network_birth(client), process)
            known, life = self._life
            if known != sign:
                life = _life(client.info(), sign)
                self._life = (sign, life)
            return life

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
        with self._asking() as client:
            try:
                return str(client.inspect_image(reference)["Id"])  # type: ignore[no-untyped-call] # stubs
            except docker.errors.APIError as error:
                if error.status_code == 404 or "invalid reference" in str(error.explanation):
                    return None
                raise

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
    def events(self, container: str) -> Iterator[Stream]:
        filters = f'{{"container": ["{container}"], "type": ["container"], "event": ["die", "destroy"]}}'
        wanted = {"filters": filters, "since": f"{time.time() - SLACK_SECONDS:.3f}"}
        with self._asking() as client, self._stream(client, "GET", "/events", wanted, LOOK_SECONDS) as stream:
            yield stream

    @contextmanager
    def output(self, container: str, follow: bool = False) -> Iterator[Stream]:
        """``follow``: also what it writes from now on, however long it is silent, until it ends."""
        wanted = {"stdout": "1", "stderr": "1", "follow": "1" if follow else "0"}
        path = f"/containers/{container}/logs"
        seconds = None if follow else CALL_SECONDS
        with self._telling() as client, self._stream(client, "GET", path, wanted, seconds) as stream:
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
    ) -> Iterator[Stream]:
        url = f"{client.base_url}/v{client.api_version}{path}"
        with client.request(
            method, url, params=dict(params), headers=headers, stream=True, timeout=seconds
        ) as answer:
            if not answer.ok:
                raise _refusal(answer.status_code, _explanation(answer))
            yield _Response(answer)

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
        if self.base_url.startswith(UNIX):
            _reach(self.base_url, self._call_seconds)
        with self._lock:
            if self._idle:
                return self._idle.pop()
        seconds = int(self._call_seconds)
        client = docker.APIClient(base_url=self.base_url, version=self._version, timeout=seconds)
        self._version = client.api_version
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


class _Response:
    """Implements ``Stream`` over an answer of the engine."""

    def __init__(self, answer: requests.Response) -> None:
        self._raw = answer.raw

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


def _network_birth(client: docker.APIClient) -> str:
    try:
        return str(client.inspect_network("bridge")["Created"])
    except docker.errors.NotFound:
        return ""


def _life(info: Mapping[str, Any], sign: tuple[str, str]) -> str:
    network, process = sign
    started = "live-restore" if info.get("LiveRestoreEnabled") else network or process
    return f"{info['ID']}/{started}"


def _refusal(status: int, reason: str) -> Refused:
    kind = {404: NotThere, 409: Conflict}.get(status, Refused)
    return kind(reason, status)


def _explanation(answer: requests.Response) -> str:
    try:
        return str(answer.json()["message"])
    except (ValueError, KeyError, TypeError):
        return answer.text or f"status {answer.status_code}"


def _reach(url: str, seconds: float) -> None:
    """Raise ``Paused`` with the reason if nothing listens there. docker-py would leak its socket."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(seconds)
            connection.connect(url.removeprefix(UNIX))
    except PermissionError as error:
        raise Paused(FORBIDDEN.format(url)) from error
    except OSError as error:
        raise Paused(AWAY.format(url)) from error


def _half_of_memory() -> int:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(memory // 2, 8 * 1024**3)
