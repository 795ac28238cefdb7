"""Named places in the code where a test may let the process crash, stumble or hang.

Armed by ``JOBFETCHER_FAILPOINTS="name=kill;other=hang:5;third=raise;fourth@3=exit"``: ``@3`` means
only the third time. Actions: ``kill`` (SIGKILL), ``raise``, ``exit``, ``hang`` and ``delay`` (seconds;
``hang`` without a number is for ever). ``JOBFETCHER_FAILPOINT_LOG`` names a file that gets each
reached name once per process. With neither set a failpoint costs one look at an empty value.
"""

import os
import signal
import threading
import time
from dataclasses import dataclass
from pathlib import Path

EXIT_CODE = 70
"""What the process ends with by the action ``exit``."""

_ACTIONS = frozenset({"kill", "raise", "exit", "hang", "delay"})
_FOR_EVER = 365 * 86400.0


@dataclass(frozen=True)
class _Armed:
    action: str
    seconds: float
    only: int
    """Acts the ``only``-th time; 0: every time."""


class Failpoints:
    """What is armed, and what was reached. Safe from any thread."""

    def __init__(self, armed: str = "", log: str = "") -> None:
        self._armed = dict(_parse(entry) for entry in armed.split(";") if entry.strip())
        self._log = Path(log) if log else None
        self._lock = threading.Lock()
        self.reached: dict[str, int] = {}
        """How often each name was passed."""

    def __bool__(self) -> bool:
        return bool(self._armed) or self._log is not None

    def hit(self, name: str) -> None:
        """Note the name, and do what is armed for it."""
        with self._lock:
            times = self.reached[name] = self.reached.get(name, 0) + 1
            if times == 1 and self._log is not None:
                with self._log.open("a", encoding="utf-8") as file:
                    file.write(name + "\n")
        point = self._armed.get(name)
        if point is not None and point.only in (0, times):
            _act(point, name)


def _parse(entry: str) -> tuple[str, _Armed]:
    place, _, what = entry.strip().partition("=")
    name, _, only = place.partition("@")
    action, _, seconds = what.partition(":")
    try:
        if action not in _ACTIONS:
            raise ValueError(action)
        return name, _Armed(action, float(seconds) if seconds else _FOR_EVER, int(only or 0))
    except ValueError as error:
        raise ValueError(f"The failpoint {entry.strip()!r} cannot be read; write name=action.") from error


def _act(point: _Armed, name: str) -> None:
    if point.action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif point.action == "exit":
        os._exit(EXIT_CODE)
    elif point.action == "raise":
        raise RuntimeError(f"The failpoint {name} was armed to raise.")
    else:
        time.sleep(point.seconds)


_active = Failpoints(
    os.environ.get("JOBFETCHER_FAILPOINTS", ""), os.environ.get("JOBFETCHER_FAILPOINT_LOG", "")
)


def failpoint(name: str) -> None:
    """Do what is armed for ``name``; nothing otherwise."""
    if _active:
        _active.hit(name)
