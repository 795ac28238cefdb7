"""How a command lets the worker know that there is a request, so that it need not look often.

A named pipe in the worker's folder, ``<PATH_BASE>/worker-doorbell``. Ringing is a hint and no more: the
request lies in the database, and a worker that does not hear looks a moment later. Needs the standard library
only.
"""

import os
import select
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

NAME = "worker-doorbell"
_FLAGS = os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW


class Doorbell:
    """One that only this process can ring."""

    period = 1.0
    """Seconds after which it is time to look although nobody rang."""

    def __init__(self) -> None:
        self._rung = threading.Event()

    def ring(self) -> None:
        """End the wait that is under way, or the next one."""
        self._rung.set()

    def wait(self, seconds: float) -> None:
        """Return when it rings, or after ``seconds``."""
        if self._rung.wait(seconds):
            self._rung.clear()


class PipedDoorbell(Doorbell):
    """One that other processes of this account can ring. ``pipe`` is open for reading and writing."""

    period = 2.0
    """As above: whoever rings has a worker that hears, unless he was killed in between."""

    def __init__(self, pipe: int) -> None:
        super().__init__()
        self._pipe = pipe
        self._is_open = True
        self._lock = threading.Lock()
        self._poll = select.poll()
        self._poll.register(pipe, select.POLLIN)

    def ring(self) -> None:
        with self._lock, suppress(BlockingIOError):  # it is full of rings already
            if self._is_open:
                os.write(self._pipe, b"\n")

    def wait(self, seconds: float) -> None:
        self._poll.poll(seconds * 1000)
        with self._lock, suppress(BlockingIOError):
            if self._is_open:
                os.read(self._pipe, 65536)

    def close(self) -> None:
        """Ringing and waiting have no effect any more."""
        with self._lock:
            self._is_open = False
            os.close(self._pipe)


@contextmanager
def hung(folder: Path) -> Iterator[Doorbell]:
    """The bell of the worker of ``folder``. Nobody outside can ring it where the file system has no pipes."""
    try:
        bell = PipedDoorbell(_made(folder / NAME))
    except OSError:
        yield Doorbell()
        return
    try:
        yield bell
    finally:
        with suppress(OSError):
            (folder / NAME).unlink()
        bell.close()


def ring(folder: Path) -> None:
    """Tell the worker of ``folder``, if there is one, that something lies in the database for it."""
    with suppress(OSError):
        pipe = _opened(folder / NAME, os.O_WRONLY)
        try:
            os.write(pipe, b"\n")
        finally:
            os.close(pipe)


def _made(name: Path) -> int:
    with suppress(FileExistsError):  # a worker that was killed left it
        os.mkfifo(name, 0o600)
    return _opened(name, os.O_RDWR)


def _opened(name: Path, how: int) -> int:
    """Raises ``OSError`` if nobody has it open for reading, or it is no pipe."""
    pipe = os.open(name, how | _FLAGS)
    if not stat.S_ISFIFO(os.fstat(pipe).st_mode):
        os.close(pipe)
        raise FileExistsError(f"{name} is no pipe")
    return pipe
