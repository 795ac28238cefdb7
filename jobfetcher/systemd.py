"""Tells systemd how the worker is: ready, what it does, that it lives, that it stops (sd_notify(3)).

Without ``NOTIFY_SOCKET`` nothing is done and no thread runs.
"""

import logging
import os
import socket
import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from jobfetcher.status.health import Live, Status, alive

log = logging.getLogger(__name__)

PERIOD = 10.0
"""Seconds between two looks at what the worker does, at most."""


class Notifier:
    """Tells of ``live`` in a thread of its own, from entering to leaving. A context manager.

    While a thread of the worker stands still the watchdog is not fed: systemd ends and restarts it.
    """

    def __init__(self, live: Live, environ: Mapping[str, str] | None = None) -> None:
        environ = os.environ if environ is None else environ
        self._live = live
        self._address = _address(environ.get("NOTIFY_SOCKET", ""))
        watchdog = _watchdog_seconds(environ, os.getpid())
        self._feeds = watchdog is not None
        self._period = min(PERIOD, watchdog / 2) if watchdog else PERIOD
        self._said = ""
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="notifier", daemon=True)

    def __enter__(self) -> Self:
        if self._address:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._address:
            self._stopping.set()
            self._thread.join(timeout=1)

    def ready(self) -> None:
        """The worker runs."""
        self._send("READY=1")

    def stopping(self) -> None:
        """The worker has begun to stop."""
        self._stopping.set()
        self._send("STOPPING=1\nSTATUS=Stopping; containers go on.")

    def turn(self) -> None:
        """Say what has changed, and feed the watchdog if all is well."""
        status = self._live.as_dict()
        health = alive(status)
        text = saying(status) if health.ok else " ".join(health.problems)
        said = f"STATUS={text}"
        lines = [said] if said != self._said else []
        lines += ["WATCHDOG=1"] if self._feeds and health.ok else []
        if lines and self._send("\n".join(lines)):
            self._said = said

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self.turn()
            except Exception:
                log.exception("systemd.stumbled")
            self._stopping.wait(self._period)

    def _send(self, message: str) -> bool:
        """Whether it was heard. Nobody who listens is no reason to stop working."""
        if not self._address:
            return False
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as line:
                line.settimeout(1)
                line.sendto(message.encode(), self._address)
        except OSError as error:
            log.debug("systemd.not-told", extra={"error": str(error)})
            return False
        return True


def saying(status: Status) -> str:
    """What the worker does, in one line for ``systemctl status``."""
    jobs = list(status["jobs"].values())
    said = [f"{job['state']} job {job['id']}" for job in jobs[:3]] or ["waiting for jobs"]
    said += [f"{len(jobs) - 3} more"] if len(jobs) > 3 else []
    said += ["draining"] if status["draining"] else []
    if count := status["unsent"]:
        said.append(f"{count} update{'' if count == 1 else 's'} unsent")
    said += [f"{name} away" for name, what in (("API", "api"), ("engine", "engine")) if _away(status[what])]
    return _one_line(", ".join(said))


def _away(answer: Mapping[str, Any]) -> bool:
    return answer["ok"] is False


def _one_line(text: str) -> str:
    """Job ids come from outside: a line break would be another message to systemd."""
    return "".join(character if character.isprintable() else "?" for character in text)[:500]


def _address(name: str) -> str:
    """A path, or an abstract name (``@``)."""
    return f"\0{name[1:]}" if name.startswith("@") else name


def _watchdog_seconds(environ: Mapping[str, str], pid: int) -> float | None:
    """How soon systemd wants to hear of us; None if it does not, or means another process."""
    if environ.get("WATCHDOG_PID", str(pid)) != str(pid):
        return None
    try:
        return int(environ["WATCHDOG_USEC"]) / 1e6
    except (KeyError, ValueError):
        return None
