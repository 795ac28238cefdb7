"""How a process of this machine gets to see its job's folder as ``/files``, as a container would.

It isolates nothing: with bubblewrap the command sees little of the machine, without it everything.
"""

import functools
import logging
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from states.errors import JobFailed

log = logging.getLogger(__name__)

FILES = Path("/files")
SHELL = ["/bin/sh", "-c"]
_WORD = re.compile(r"(?<![\w./-])/files(?![\w.-])")
_PLAIN = re.compile(r"[\w./+@-]+")
PROBE_SECONDS = 10


@dataclass(frozen=True)
class View:
    """A command line, and how to treat it."""

    argv: list[str]
    cwd: str
    front: bool
    """The process that is started only stands in front of the command."""
    note: str = ""
    """A line for the job's log."""


Viewer = Callable[[str, Path, bool], View]
"""Command, the job's folder, and whether the job has GPUs → how to run it."""


def best_view(command: str, folder: Path, gpus: bool) -> View:
    """The best way that this machine allows. Raises ``JobFailed`` if there is none."""
    if bubblewrap():
        return sandboxed(command, folder, gpus)
    return mounted(command, folder, gpus) if may_mount() else rewritten(command, folder, gpus)


def sandboxed(command: str, folder: Path, gpus: bool) -> View:
    """In bubblewrap, with the folder bound at ``/files``."""
    devices = ["--dev-bind", "/dev", "/dev"] if gpus else ["--dev", "/dev"]
    place = ["--bind", str(folder), str(FILES), "--chdir", str(FILES)]
    return View([*bubblewrap(), *devices, *place, *SHELL, command], "/", front=True)


def mounted(command: str, folder: Path, gpus: bool) -> View:
    """As root, with the folder mounted at ``/files`` for this command alone."""
    FILES.mkdir(exist_ok=True)
    script = 'mount --bind "$0" /files && cd /files && exec /bin/sh -c "$1"'
    argv = ["unshare", "--mount", "--propagation", "private", *SHELL, script, str(folder), command]
    return View(argv, "/", front=False)


def rewritten(command: str, folder: Path, gpus: bool) -> View:
    """With each path below ``/files`` in the command's text put below ``folder``. Raises ``JobFailed``."""
    if not _PLAIN.fullmatch(str(folder)):
        raise JobFailed(f"The folder {folder} cannot stand for /files in a command; install bubblewrap.")
    there = _WORD.sub(lambda _: str(folder), command)
    return View([*SHELL, there], str(folder), False, _rewriting(folder))


@functools.cache
def bubblewrap() -> tuple[str, ...]:
    """The command that shows a process little of this machine; empty where that does not work."""
    found = shutil.which("bwrap")
    if found is None:
        return ()
    for own_pids in (("--unshare-pid",), ()):
        flags = (found, *_system(), "--die-with-parent", *own_pids)
        if _works([*flags, "--dev", "/dev", "--bind", "/tmp", str(FILES), "true"]):
            return flags
    log.warning("bubblewrap.forbidden")
    return ()


@functools.cache
def may_mount() -> bool:
    """This process may make a mount namespace and ``/files``."""
    if os.geteuid() != 0 or not (FILES.is_dir() or os.access("/", os.W_OK)):
        return False
    return _works(["unshare", "--mount", "--propagation", "private", "true"])


def _system() -> list[str]:
    flags = ["--proc", "/proc", "--tmpfs", "/tmp"]
    for name in ("usr", "etc", "opt", "sys"):
        flags += ["--ro-bind-try", f"/{name}", f"/{name}"]
    for name in ("bin", "sbin", "lib", "lib64"):
        path = Path("/") / name
        if path.is_symlink():
            flags += ["--symlink", str(path.readlink()), str(path)]
        elif path.is_dir():
            flags += ["--ro-bind", str(path), str(path)]
    # Where systemd resolves names, /etc/resolv.conf leads there.
    return [*flags, "--ro-bind-try", "/run/systemd/resolve", "/run/systemd/resolve"]


def _works(argv: list[str]) -> bool:
    try:
        return subprocess.run(argv, check=False, capture_output=True, timeout=PROBE_SECONDS).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _rewriting(folder: Path) -> str:
    return f"jobfetcher: /files cannot be provided here; the command was changed to use {folder} instead.\n"
