"""Signs that the machine or the engine has started anew. An exit is believed only between two of them."""

import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_CREDENTIALS = struct.Struct("3i")


def boot_id() -> str:
    """Changes at each boot of the machine."""
    return BOOT_ID.read_text().strip()


def start_time(pid: int) -> str:
    """When process ``pid`` started, in clock ticks since boot; empty if it cannot be seen."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    return text.rpartition(")")[2].split()[19]


def listener(path: str) -> str:
    """Which process listens on the Unix socket ``path``, so that its restart shows; empty if unknown.

    With socket activation this is the service manager, which never restarts; in a container of our own
    the number is 0.
    """
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(5)
            connection.connect(path)
            raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    except OSError:
        return ""
    pid = _CREDENTIALS.unpack(raw)[0]
    return f"{pid}@{start_time(pid)}" if pid else ""


class Survival:
    """In which epoch a container counts as alive; begins with the one that was noted at its start.

    An engine that was killed lists, right after its next start, containers as running that it is about
    to end. Only a container that is seen alive ``seconds`` after the change has outlived it.
    """

    def __init__(self, epoch: str, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.epoch = epoch
        self._seconds = seconds
        self._clock = clock
        self._since: tuple[str, float] = (epoch, 0.0)

    def seen(self, epoch: str) -> None:
        """It is alive, in ``epoch``."""
        if self._since[0] != epoch:
            self._since = (epoch, self._clock())
        if self._clock() - self._since[1] >= self._seconds:
            self.epoch = epoch
