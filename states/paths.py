"""Which paths a job may name. The rules only; nothing here touches a disk."""

import re
import shlex
from pathlib import PurePosixPath

from states.errors import JobFailed
from states.spec import JobSpec

MAX_NAME_BYTES = 255
"""Longest name of one file or folder (Linux ``NAME_MAX``)."""
MAX_PATH_BYTES = 3072
"""Longest path under ``/files``: Linux's ``PATH_MAX`` less room for the folder of the job itself."""

_PLAIN_MKDIR = re.compile(
    r"(?:^|[;&|({!\n]|\b(?:then|do|else)\b)\s*"  # where a command may begin
    r"(?:\w+=\S*\s+)*(?:/(?:usr/)?bin/)?mkdir\s+([^;&|)}<>\n]*)"
)


def inside(path: str, what: str) -> PurePosixPath:
    """``path`` made plain (``config/.`` is the file ``config``), relative to ``/files``.

    Raises ``JobFailed`` where it is absolute, climbs out, or can be no file's name.
    """
    shown = repr(path if len(path) <= 80 else path[:77] + "...")
    if "\0" in path:
        raise JobFailed(f"The job's {what} {shown} contains a NUL character.")
    if path.startswith("/"):
        raise JobFailed(f"The job's {what} {shown} is absolute; it must be relative to /files.")
    plain = PurePosixPath(path)
    if ".." in plain.parts:
        raise JobFailed(f"The job's {what} {shown} climbs out of the job's folder.")
    try:
        names = [part.encode() for part in plain.parts]
    except UnicodeEncodeError as error:
        raise JobFailed(f"The job's {what} {shown} is not valid text.") from error
    if any(len(name) > MAX_NAME_BYTES for name in names) or len(b"/".join(names)) > MAX_PATH_BYTES:
        raise JobFailed(f"The job's {what} {shown} is too long.")
    return plain


def inputs(spec: JobSpec) -> dict[PurePosixPath, str]:
    """The job's input files: plain path under ``/files`` → file id. Raises ``JobFailed``."""
    files: dict[PurePosixPath, str] = {}
    for key, file_id in (spec.handler.files_down or {}).items():
        path = inside(key, "input path")
        if path == PurePosixPath():
            raise JobFailed(f"The job's input path {key!r} names the job's folder, not a file.")
        if path in files:
            raise JobFailed(f"Two of the job's inputs have the same path {str(path)!r}.")
        files[path] = file_id
    for path in files:
        for parent in path.parents:
            if parent in files:
                raise JobFailed(f"The job's input {str(parent)!r} is both a file and a folder.")
    return files


def output_folders(spec: JobSpec) -> list[tuple[str, PurePosixPath]]:
    """The job's output folders as (type, plain path under ``/files``). Raises ``JobFailed``."""
    folders = (spec.handler.files_up or {}).items()
    return [(kind.value, inside(folder, "output folder")) for kind, folder in folders]


def check(spec: JobSpec) -> None:
    """Raise ``JobFailed`` with a sentence if the job names a path that it must not, or one twice over."""
    files = inputs(spec)
    for _, folder in output_folders(spec):
        if taken := [path for path in (folder, *folder.parents) if path in files]:
            raise JobFailed(
                f"The job's output folder {str(folder)!r} is in the way of its input {str(taken[0])!r}."
            )


def folders_to_make(spec: JobSpec) -> list[PurePosixPath]:
    """The output folders that must exist before the run.

    Not among them is one that the command makes with a plain ``mkdir`` (no ``-p``), or that lies in
    such a folder: the command would stop with "File exists". Raises ``JobFailed``.
    """
    own = made_by_command(spec.command or "")
    return [
        folder
        for _, folder in output_folders(spec)
        if not any(made == folder or made in folder.parents for made in own)
    ]


def made_by_command(command: str) -> set[PurePosixPath]:
    """Paths under ``/files`` that the shell command makes with a plain ``mkdir``."""
    made: set[PurePosixPath] = set()
    for match in _PLAIN_MKDIR.finditer(command):
        try:
            words = shlex.split(match[1])
        except ValueError:  # an unbalanced quote: the shell will say so when the job runs
            continue
        options = [word for word in words if word.startswith("-")]
        if any(word == "--parents" or re.fullmatch(r"-[a-z]*p[a-z]*", word) for word in options):
            continue
        made |= {PurePosixPath(word).relative_to("/files") for word in words if word.startswith("/files/")}
    return made - {PurePosixPath()}
