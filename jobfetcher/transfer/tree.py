"""What lies in a job's output folders: its regular files, and nothing that leads elsewhere.

A hard link cannot be told from the file itself; it needs no care, because a container cannot make
one to a file outside its mount.
"""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from jobfetcher.transfer.folders import IN_THE_WAY, opened


@dataclass(frozen=True)
class Output:
    """One file to upload."""

    kind: str
    """``output``, ``log`` or ``artifact``."""
    parts: tuple[str, ...]
    """Its path under ``/files``, as the file system has it."""

    @property
    def path(self) -> str:
        return readable("/".join(self.parts))

    @property
    def base_path(self) -> str:
        return readable("/".join(self.parts[:-1]))

    @property
    def name(self) -> str:
        return readable(self.parts[-1])


@dataclass
class Findings:
    """What the walk came across, besides the files that it gives."""

    skipped: list[str] = field(default_factory=list)
    """Paths of links, FIFOs, sockets and devices."""
    unreadable: list[str] = field(default_factory=list)
    names: set[tuple[str, str, str]] = field(default_factory=set)
    """(type, base path, name) of every file of type ``log``."""


def walk(root: Path, kind: str, folder: PurePosixPath, findings: Findings) -> Iterator[Output]:
    """Every regular file below ``root/folder``, to any depth. A missing folder has none."""
    waiting = [folder.parts]
    while waiting:
        parts = waiting.pop()
        entries = _entries(root, parts, findings)
        waiting += reversed([(*parts, name) for name, mode, _ in entries if stat.S_ISDIR(mode)])
        for name, mode, _ in entries:
            if stat.S_ISREG(mode):
                yield _noted(Output(kind, (*parts, name)), findings)
            elif not stat.S_ISDIR(mode):
                findings.skipped.append(readable("/".join((*parts, name))))


def size_below(root: Path, folder: PurePosixPath) -> tuple[int, int]:
    """How many regular files lie below ``root/folder``, and their bytes together."""
    waiting, files, size = [folder.parts], 0, 0
    while waiting:
        parts = waiting.pop()
        for name, mode, length in _entries(root, parts, Findings()):
            if stat.S_ISDIR(mode):
                waiting.append((*parts, name))
            elif stat.S_ISREG(mode):
                files, size = files + 1, size + length
    return files, size


def readable(path: str) -> str:
    """``path`` as valid text: bytes that are no UTF-8 become ``%XX``."""
    return "".join(f"%{ord(c) - 0xDC00:02X}" if 0xDC80 <= ord(c) <= 0xDCFF else c for c in path)


def _noted(output: Output, findings: Findings) -> Output:
    if output.kind == "log":
        findings.names.add((output.kind, output.base_path, output.name))
    return output


def _entries(root: Path, parts: tuple[str, ...], findings: Findings) -> list[tuple[str, int, int]]:
    """Names, modes and sizes in the folder, sorted."""
    try:
        with opened(root, parts) as folder, os.scandir(folder) as found:
            entries = [(entry.name, *_mode_and_size(folder, entry.name)) for entry in found]
    except FileNotFoundError:
        return []
    except OSError as error:
        lost = findings.skipped if error.errno in IN_THE_WAY else findings.unreadable
        lost.append(readable("/".join(parts)))
        return []
    return sorted(entry for entry in entries if entry[1])


def _mode_and_size(folder: int, name: str) -> tuple[int, int]:
    try:
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return 0, 0
    return found.st_mode, found.st_size
