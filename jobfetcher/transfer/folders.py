"""Opens folders below a job's folder without ever following a symbolic link.

Each step is opened relative to the last one's descriptor, so nothing that a job puts in the way, or
swaps meanwhile, leads out; and paths may be longer than the kernel takes at once.
"""

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # NONBLOCK: a FIFO must not hang us
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
"""What the system says when the disk, or the share of it, is full."""
IN_THE_WAY = frozenset({errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY})
"""What it says when something else stands where a file or a folder should be."""


@contextmanager
def opened(root: Path, parts: Sequence[str] = (), *, make: bool = False) -> Iterator[int]:
    """A descriptor of the folder ``root/parts``; missing folders below ``root`` are made if asked.

    Raises ``OSError``, among them ``ENOTDIR`` or ``ELOOP`` where a part is a link or a file.
    """
    folder = os.open(root, _FOLDER & ~os.O_NOFOLLOW)
    try:
        for part in parts:
            if make:
                with suppress(FileExistsError):
                    os.mkdir(part, dir_fd=folder)
                    os.fsync(folder)
            below = os.open(part, _FOLDER, dir_fd=folder)
            os.close(folder)
            folder = below
        yield folder
    finally:
        os.close(folder)


def open_file(folder: int, name: str) -> int:
    """A descriptor that reads the file ``name`` in the open ``folder``. Raises ``OSError``."""
    return os.open(name, _FILE, dir_fd=folder)


def size_of(root: Path, parts: Sequence[str]) -> int | None:
    """Size in bytes of what is at ``root/parts``; None if there is nothing, or a link on the way."""
    try:
        with opened(root, parts[:-1]) as folder:
            return os.stat(parts[-1], dir_fd=folder, follow_symlinks=False).st_size
    except OSError:
        return None
