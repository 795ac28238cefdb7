"""Room on the disk that only the database can use: a job that fills the disk can still come to its end.

It lies in the write-ahead log: SQLite writes its frames into the file that is there, wherever that ends, and
takes no notice of what follows them. So nobody gives the room up, no container can take it, and it serves the
requests of operators as well.
"""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

from persistence import readonly
from persistence.errors import StoreFull, StoreUnavailable, StoreUnusable
from persistence.path import beside

SIZE = 8 * 1024 * 1024
"""Bytes of the log. SQLite starts it over after 1000 pages of 4 KiB. Where the database file cannot grow it
does not, and as many pages again are left: a hundred moves and more."""
_REFUSED = frozenset({errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL})


def bytes_free(folder: Path) -> int:
    """Bytes that this account may still write where the folder lies."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


class Reserve:
    """``size`` bytes in the log of the database ``path``.

    ``transaction`` makes one of its transactions; ``free`` tells the bytes free where a path lies."""

    def __init__(
        self,
        path: Path,
        transaction: Callable[[], AbstractContextManager[object]],
        size: int = SIZE,
        free: Callable[[Path], int] = bytes_free,
    ) -> None:
        self._path = path
        self._log = beside(path, "-wal")
        self._transaction = transaction
        self._size = size
        self._free = free
        self.full = ""
        """What the last write said, if it failed because the disk is full: a sentence."""

    def make(self) -> bool:
        """Make it unless it is there, or less than twice as much is free. Whether it is there.

        Raises what writing raises.
        """
        if self._is_whole():
            return True
        if not self._has_room():
            return False
        with self._transaction():  # nobody else writes into the log meanwhile
            return self._allocated()

    @contextmanager
    def staying(self) -> Iterator[None]:
        """Close the database within the block: if the disk is short of room the reserve outlives that."""
        if not self._is_whole() or self._has_room():
            yield
            return
        try:
            looking = readonly.connect(self._path)
        except (StoreUnavailable, StoreUnusable):
            yield
            return
        # The last to close removes the log, unless that is a connection that cannot write.
        with closing(looking):
            yield

    @contextmanager
    def noting(self) -> Iterator[None]:
        """Keep in ``full`` how a write ends."""
        try:
            yield
        except StoreFull as full:
            self.full = str(full)
            raise
        self.full = ""

    def _has_room(self) -> bool:
        return self._free(self._log.parent) >= 2 * self._size

    def _is_whole(self) -> bool:
        try:
            return self._log.stat().st_size >= self._size
        except FileNotFoundError:
            return False

    def _allocated(self) -> bool:
        # Closing a descriptor of the log does no harm: SQLite locks the other two files, never this one.
        log = os.open(self._log, os.O_RDWR | os.O_CLOEXEC)
        try:
            allocate(log, self._size)
        except OSError:
            return False
        finally:
            os.close(log)
        return True


def allocate(file: int, size: int, allocating: Callable[[int, int, int], None] = os.posix_fallocate) -> None:
    """Let the open file have ``size`` bytes on the disk; what is in it stays. Raises ``OSError``."""
    end = os.fstat(file).st_size
    if end >= size:
        return
    try:
        allocating(file, end, size - end)
    except OSError as error:
        if error.errno not in _REFUSED:
            raise
        while end < size:
            end += os.pwrite(file, bytes(size - end), end)
