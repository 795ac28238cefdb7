"""Where jobs need room: on the disk of the worker's folder, and on the engine's where that can be seen."""

import shutil
from collections.abc import Callable
from pathlib import Path

from jobfetcher.room import Room
from jobfetcher.units import size


def bytes_free(path: Path) -> int:
    """Bytes free where the path lies."""
    return shutil.disk_usage(path).free


def device(path: Path) -> int:
    """Number of the file system on which the path lies."""
    return path.stat().st_dev


class Disk:
    """``room`` is that of ``base`` (``PATH_BASE``). ``least`` bytes must stay free there and on the engine's.

    ``root`` is the folder in which the engine keeps its images. A worker in a container cannot see it.
    """

    def __init__(
        self,
        room: Room,
        base: Path,
        least: int,
        root: Callable[[], Path | None] = lambda: None,
        free: Callable[[Path], int] = bytes_free,
        device: Callable[[Path], int] = device,
    ) -> None:
        self._room = room
        self._base = base
        self._least = least
        self._root = root
        self._free = free
        self._device = device

    def shortage(self) -> str:
        """A sentence if less is free than must stay free; empty if there is room."""
        return self._room.shortage() or self._engine_shortage()

    def images_are_in_the_way(self) -> bool:
        """There is a shortage where images lie, or may lie: removing some helps."""
        root = self._visible_root()
        if root is None or self._device(root) == self._device(self._base):
            return bool(self.shortage())
        return bool(self._engine_shortage())

    @property
    def shows_images(self) -> bool:
        """Whether the disk with the engine's images can be seen from here."""
        return self._visible_root() is not None

    def free_for_images(self) -> int:
        """Bytes free where images lie, as far as can be seen from here."""
        return self._free(self._visible_root() or self._base)

    def _visible_root(self) -> Path | None:
        root = self._root()
        try:
            return root if root is not None and self._device(root) else None
        except OSError:
            return None

    def _engine_shortage(self) -> str:
        root = self._visible_root()
        if root is None or (free := self._free(root)) >= self._least:
            return ""
        return (
            f"No space left on the Docker engine's disk: {size(free)} are free in {root}, "
            f"{size(self._least)} must stay free (MIN_FREE_DISK)."
        )
