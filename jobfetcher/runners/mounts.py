"""What the worker's folder is called on the engine's machine, if the worker itself runs in a container.

The engine mounts folders of its own machine into the jobs' containers. A worker in a container sees its
folder under another name; its own container's mounts, which the engine knows, translate one into the other.
"""

import re
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobfetcher.runners.engine import Refused
from states.errors import Paused

Inspect = Callable[[str], Mapping[str, Any] | None]
"""What an engine knows of a container, by id; None if it knows none of that id. May raise ``Paused``."""

_ID = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
_SHORT_ID = re.compile(r"[0-9a-f]{12}")
_OCTAL = re.compile(r"\\([0-7]{3})")
OF_THE_ENGINE = ("/etc/hostname", "/etc/hosts", "/etc/resolv.conf")
"""Files that engines mount into every container, from a folder with the container's id in its name."""
SIGNS = (".dockerenv", "run/.containerenv")
"""Files that engines leave in the root of every container."""


@dataclass(frozen=True)
class HostName:
    """What a folder is called on the engine's machine, and how sure that is."""

    folder: Path
    origin: str
    """How it was found, for people."""
    doubt: str = ""
    """Why it may be wrong, in a few words; empty where there is no reason to doubt."""
    mend: str = ""
    """What to do about the doubt."""


class HostFolder:
    """Turns a path below ``base`` (``PATH_BASE``) into what the engine calls it.

    ``given`` is ``PATH_HOST_BASE``, which is believed; without it the worker's own container is looked at,
    once. ``on_found`` hears of it. ``root`` is where the files are that tell which container that is.
    """

    def __init__(
        self,
        base: Path,
        given: Path | None,
        inspect: Inspect,
        on_found: Callable[[HostName], None] = lambda _: None,
        root: Path = Path("/"),
    ) -> None:
        self.base = base
        self._on_found = on_found
        self._given = given
        self._inspect = inspect
        self._root = root
        self._found: HostName | None = None

    def __call__(self, path: Path) -> Path:
        """Raises ``Paused`` as long as the engine has to be asked and does not answer."""
        return self.name().folder / path.relative_to(self.base)

    def name(self) -> HostName:
        """What ``base`` is called. Raises ``Paused`` as a call does."""
        if self._found is None:
            self._found = self._find()
            self._on_found(self._found)
        return self._found

    def _find(self) -> HostName:
        if self._given is not None:
            return HostName(self._given, "PATH_HOST_BASE")
        if not is_container(self._root):
            return HostName(self.base, "PATH_BASE")
        for candidate in own_ids(self._root):
            if (found := self._container(candidate)) is not None:
                return self._in_container(found)
        seen = "this worker runs in a container that the Docker engine does not know"
        mend = f"Set PATH_HOST_BASE to the name that {self.base} has on the machine where Docker runs."
        return HostName(self.base, "PATH_BASE", seen, mend)

    def _in_container(self, found: Mapping[str, Any]) -> HostName:
        source = source_of(self.base.resolve(), found.get("Mounts") or (), self._is_mounted)
        if source is not None:
            return HostName(source, f"the mounts of container {str(found['Id'])[:12]}")
        seen = f"{self.base} is no mounted folder: no other container sees it, and it is lost with this one"
        mend = f"Start the worker's container with a folder there: docker run -v /srv/jobfetcher:{self.base}."
        return HostName(self.base, "PATH_BASE", seen, mend)

    def _container(self, candidate: str) -> Mapping[str, Any] | None:
        """The container of that id; an engine that stumbles over the question does not know it either."""
        try:
            found = self._inspect(candidate)
        except Paused as error:
            if isinstance(error.__cause__, Refused):
                return None
            raise
        # A container may also be *named* like that.
        return found if found is not None and str(found.get("Id", "")).startswith(candidate) else None

    def _is_mounted(self, folder: Path) -> bool:
        points = {point for _, point in mounted(_text(self._root / "proc/self/mountinfo"))}
        return str(folder.resolve()) in points


def source_of(
    folder: Path, mounts: Iterable[Mapping[str, Any]], is_mounted: Callable[[Path], bool] = lambda _: True
) -> Path | None:
    """``folder`` of a container as its engine's machine sees it; None if it lies on none of the ``mounts``.

    Of nested mounts the innermost counts. ``is_mounted`` guards against another container's mounts.
    """
    around = [mount for mount in mounts if folder.is_relative_to(str(mount.get("Destination") or "//"))]
    if not around:
        return None
    mount = max(around, key=lambda mount: len(Path(str(mount["Destination"])).parts))
    source, destination = str(mount.get("Source") or ""), Path(str(mount["Destination"]))
    if not source.startswith("/") or not is_mounted(destination):
        return None
    return Path(source) / folder.relative_to(destination)


def is_container(root: Path = Path("/")) -> bool:
    """This process runs in a container of an engine."""
    return any((root / sign).exists() for sign in SIGNS) or bool(_full_ids(root))


def own_ids(root: Path = Path("/"), hostname: Callable[[], str] = socket.gethostname) -> list[str]:
    """What the id of this process's container may be, most reliable first."""
    short = hostname()
    return [*_full_ids(root), *([short] if _SHORT_ID.fullmatch(short) else [])]


def _full_ids(root: Path) -> list[str]:
    cgroup, mountinfo = (_text(root / "proc/self" / name) for name in ("cgroup", "mountinfo"))
    return list(dict.fromkeys([*ids_in_cgroup(cgroup), *ids_in_mountinfo(mountinfo)]))


def ids_in_cgroup(text: str) -> list[str]:
    """Ids in ``/proc/self/cgroup``: the last one of each line, for a container may run in another one."""
    return [ids[-1] for line in text.splitlines() if (ids := _ID.findall(line.partition(":")[2]))]


def ids_in_mountinfo(text: str) -> list[str]:
    """Ids in ``/proc/self/mountinfo``, where cgroups of version 2 show nothing but ``/``.

    Containers that share a network share these files too, so what is found may be another one's.
    """
    return [ids[-1] for root, point in mounted(text) if point in OF_THE_ENGINE and (ids := _ID.findall(root))]


def mounted(text: str) -> list[tuple[str, str]]:
    """The root and the mount point of each line of ``/proc/self/mountinfo``."""
    lines: Sequence[list[str]] = [line.split(" ") for line in text.splitlines()]
    return [(_plain(fields[3]), _plain(fields[4])) for fields in lines if len(fields) > 4]


def _plain(field: str) -> str:
    """The kernel writes blanks as octal numbers."""
    return _OCTAL.sub(lambda found: chr(int(found[1], 8)), field)


def _text(file: Path) -> str:
    try:
        return file.read_text(errors="replace")
    except OSError:
        return ""
