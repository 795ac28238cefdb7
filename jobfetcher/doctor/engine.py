"""Checks of the Docker engine: does it answer, does it pull, do its containers see the job's folder and GPUs.

What has to be seen from inside is tried in a small container of its own, which has no network and is
removed whatever happens. Its label is not that of a worker, whose sweep would take it away.
"""

import secrets
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from jobfetcher.doctor.check import Check, failed, ok, skipped, warning
from jobfetcher.runners.config import FILES, LABEL
from jobfetcher.runners.engine import Refused, Stream
from jobfetcher.runners.exits import is_alive
from jobfetcher.runners.images import reference
from jobfetcher.runners.multiplexed import payloads
from states.errors import JobFailed, Paused

DOCTOR = f"{LABEL}doctor"
PROBE_SECONDS = 60.0
"""How long a container may take that only writes a word."""
LOOK_SECONDS = 0.05
LEFTOVER_SECONDS = 600.0
CANDIDATES = 5
"""So many local images are tried until one has a shell."""
COUNT_GPUS = 'set -- /dev/nvidia[0-9]*; [ -e "$1" ] && echo $# || echo 0'


class Engine(Protocol):
    """What the checks ask of an engine; errors as in ``jobfetcher.runners.engine``."""

    base_url: str

    def version(self) -> dict[str, Any]: ...
    def image_id(self, reference: str) -> str | None: ...
    def local_images(self) -> list[str]: ...
    def check_registry(self, image: str) -> None: ...
    def create(self, name: str, config: Mapping[str, Any]) -> str: ...
    def start(self, container: str) -> None: ...
    def inspect(self, container: str) -> dict[str, Any] | None: ...
    def output(self, container: str) -> AbstractContextManager[Stream]: ...
    def listed(self, labels: Mapping[str, str]) -> list[dict[str, Any]]: ...
    def remove(self, container: str) -> None: ...


class NoShell(Exception):
    """The image has no ``/bin/sh``."""


@dataclass(frozen=True)
class Place:
    """The worker's folder on both sides."""

    folder: Path
    """As this process sees it."""
    on_host: Callable[[Path], Path]
    """Turns a path below it into what the engine sees."""
    doubt: str = ""
    """Why that may be wrong; empty where there is no reason to doubt."""
    mend: str = ""
    """What to do about the doubt."""

    @property
    def hint(self) -> str:
        """What to do if the two are not the same folder."""
        default = f"Set PATH_HOST_BASE to the name that {self.folder} has on the machine where Docker runs."
        return self.mend or default


def check_engine(engine: Engine) -> Check:
    """An engine answers; its version."""
    try:
        version = engine.version()
    except Paused as error:
        if isinstance(error.__cause__, PermissionError):
            mend = "Add this account to the group docker (sudo usermod -aG docker NAME) and log in again."
        else:
            mend = "Start Docker (sudo systemctl start docker), or set DOCKER_HOST to where it answers."
        return failed("Docker", str(error).partition(": ")[0], mend)
    return ok("Docker", f"version {version['Version']} at {engine.base_url}")


def check_containers(engine: Engine, place: Place, image: str | None, gpus: int) -> Iterator[Check]:
    """What needs an engine that answers. ``gpus`` is how many this machine has at least."""
    yield check_pull(engine, image)
    yield check_files(engine, place, image)
    yield check_container_gpus(engine, image, gpus)


def check_pull(engine: Engine, image: str | None) -> Check:
    """The registry of ``image`` hands it out to this engine. Nothing is pulled."""
    if image is None:
        return skipped("pull", "no image given", "To try it, name one of your applications' images: --image.")
    try:
        reference(image)
        local = engine.image_id(image)
        engine.check_registry(image)
    except JobFailed as error:
        return failed("pull", str(error), "Check how the image is written: registry/name:tag.")
    except (Refused, Paused) as error:
        seen = str(error).strip().rstrip(".")
        if local:
            mend = (
                "Log in to the image's registry (docker login REGISTRY), unless the copy here is good enough."
            )
            return warning("pull", f"only the copy on this machine can be used: {seen}", mend)
        mend = "Check the image's name; if it is private, log in to its registry: docker login REGISTRY."
        return failed("pull", seen, mend)
    return ok("pull", f"{image} may be pulled")


def check_files(engine: Engine, place: Place, image: str | None) -> Check:
    """A file that a container writes into ``/files`` arrives in the worker's folder."""
    if not place.folder.is_dir():
        return skipped("files", "there is no folder")
    try:
        chosen = _candidates(engine, image)
        for candidate in chosen:
            with suppress(NoShell):
                return _files_arrive(engine, place, candidate)
    except (Refused, Paused, OSError) as error:
        return failed("files", f"no container can be run: {error}", "See what the engine complains of.")
    if image is not None and chosen:
        mend = "Give the image a shell (/bin/sh): jobs run their command with it."
        return failed("files", f"{image} has no /bin/sh", mend)
    seen = f"{image} is not on this machine" if image else "there is no image with a shell on this machine"
    if place.doubt:
        return warning("files", f"{seen}, and {place.doubt}", place.hint)
    mend = f"Fetch an image (docker pull {image or 'busybox'}) and try again."
    return skipped("files", seen, mend)


def check_container_gpus(engine: Engine, image: str | None, gpus: int) -> Check:
    """A container gets the GPUs that this machine has."""
    name = "GPU in containers"
    if not gpus:
        return skipped(name, "this machine shows no GPU")
    chosen = _candidates(engine, image) if image else []
    if not chosen:
        mend = "To try it, name an image that this machine has: --image."
        return skipped(name, "no image of this machine given", mend)
    mend = "Install the NVIDIA container toolkit: nvidia-ctk runtime configure, then restart Docker."
    wanted = {"DeviceRequests": [{"Count": -1, "Capabilities": [["gpu"]]}]}
    try:
        _, seen = _run(engine, chosen[0], COUNT_GPUS, wanted)
    except (Refused, Paused) as error:
        return failed(name, f"refused: {str(error).strip().rstrip('.')}", mend)
    except NoShell:
        return skipped(name, f"{image} has no /bin/sh")
    number = seen.strip()
    if not number.isdigit() or int(number) < gpus:
        return failed(name, f"{number} of {gpus} are seen there", mend)
    return ok(name, f"all {number} are seen there")


def _candidates(engine: Engine, image: str | None) -> list[str]:
    """Ids of the images to try: the one given if it is here, else the smallest ones."""
    if image is None:
        return engine.local_images()[:CANDIDATES]
    local = engine.image_id(image)
    return [local] if local else []


def _files_arrive(engine: Engine, place: Place, image_id: str) -> Check:
    word = secrets.token_hex(8)
    with tempfile.TemporaryDirectory(prefix=".doctor-", dir=place.folder) as made:
        folder = Path(made)
        folder.chmod(0o777)  # the image may have a user of its own
        source = place.on_host(folder)
        mount = {"Type": "bind", "Source": str(source), "Target": FILES, "ReadOnly": False}
        try:
            code, said = _run(engine, image_id, f"echo {word} > {FILES}/word", {"Mounts": [mount]})
        except Refused as refusal:
            if "mount" not in str(refusal):
                raise
            seen = place.doubt or f"the engine does not find {source.parent}"
            return failed("files", seen, place.hint)
        written = folder / "word"
        if code != 0:
            seen = f"a container cannot write there: {said.strip()}"
            return failed("files", seen, f"Check the permissions of {place.folder}, and its disk.")
        if not written.exists() or written.read_text().strip() != word:
            seen = f"what a container writes into {source.parent} does not arrive in {place.folder}"
            return failed("files", seen, place.hint)
    there = "" if source.parent == place.folder else f", which Docker knows as {source.parent}"
    return ok("files", f"what a container writes to {FILES} arrives in {place.folder}{there}")


def _run(engine: Engine, image_id: str, script: str, host: Mapping[str, Any]) -> tuple[int, str]:
    """Run a few words of shell. Exit code and output. Raises ``NoShell``, ``Refused`` or ``Paused``."""
    config = {
        "Image": image_id,
        "Entrypoint": ["/bin/sh", "-c", script],
        "Cmd": [],
        "Labels": {DOCTOR: "true"},
        "HostConfig": {"NetworkMode": "none", "SecurityOpt": ["no-new-privileges"], **host},
    }
    with _container(engine, config) as container:
        try:
            engine.start(container)
        except Refused as refusal:
            if "/bin/sh" in str(refusal):
                raise NoShell from refusal
            raise
        return _ended(engine, container), _output(engine, container)


@contextmanager
def _container(engine: Engine, config: Mapping[str, Any]) -> Iterator[str]:
    remove_leftovers(engine)
    container = engine.create(f"jobfetcher-doctor-{secrets.token_hex(4)}", config)
    try:
        yield container
    finally:
        with suppress(Refused):
            engine.remove(container)


def remove_leftovers(engine: Engine, older_than: float = LEFTOVER_SECONDS) -> None:
    """Remove containers that an examination left which was killed, ``older_than`` seconds ago."""
    for found in engine.listed({DOCTOR: "true"}):
        if time.time() - found["Created"] >= older_than:
            with suppress(Refused):
                engine.remove(found["Id"])


def _ended(engine: Engine, container: str) -> int:
    deadline = time.monotonic() + PROBE_SECONDS
    while (found := engine.inspect(container)) is not None and is_alive(found):
        if time.monotonic() > deadline:
            raise Paused(f"a container that only writes a word did not end in {PROBE_SECONDS:.0f} s")
        time.sleep(LOOK_SECONDS)
    if found is None:
        raise Paused("the container was removed by somebody")
    return int(found["State"]["ExitCode"])


def _output(engine: Engine, container: str) -> str:
    with engine.output(container) as stream:
        return b"".join(payloads(stream.chunks())).decode("utf-8", "replace")
