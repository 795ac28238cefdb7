"""What systemd is told, over a socket as systemd has it."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobfetcher.systemd import Notifier, saying
from tests.status_scene import Posing, living


class Listener:
    """The other end of ``NOTIFY_SOCKET``."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address)
        self._socket.settimeout(30)
        self.name = address.replace("\0", "@", 1)

    def hears(self) -> list[str]:
        """The next message, line by line."""
        return self._socket.recv(4096).decode().splitlines()

    def is_quiet(self) -> bool:
        """Nothing was sent that was not heard yet."""
        self._socket.setblocking(False)
        try:
            return not self._socket.recv(4096)
        except BlockingIOError:
            return True
        finally:
            self._socket.settimeout(30)

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["path", "abstract"])
def systemd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Listener]:
    abstract = f"\0jobfetcher-test-{os.getpid()}"
    listener = Listener(str(tmp_path / "notify") if request.param == "path" else abstract)
    yield listener
    listener.close()


def notifier(systemd: Listener, live: Posing | None = None, **environ: str) -> Notifier:
    return Notifier(live or Posing(), {"NOTIFY_SOCKET": systemd.name, **environ})


def test_ready_and_stopping_are_told(systemd: Listener) -> None:
    """Each in one message."""
    told = notifier(systemd)
    told.ready()
    told.stopping()

    assert ["READY=1"] == systemd.hears()
    assert ["STOPPING=1", "STATUS=Stopping; containers go on."] == systemd.hears()


def test_what_it_does_is_told_when_it_changes(systemd: Listener) -> None:
    """The same text is not sent twice."""
    live = Posing()
    told = notifier(systemd, live)
    told.turn()
    told.turn()
    live.changes["draining"] = True
    told.turn()

    assert ["STATUS=waiting for jobs"] == systemd.hears()
    assert ["STATUS=waiting for jobs, draining"] == systemd.hears()
    assert systemd.is_quiet()


def test_the_watchdog_is_fed_only_while_all_threads_turn(systemd: Listener) -> None:
    """A reporter that stands still: systemd hears why, and no WATCHDOG=1."""
    live = Posing()
    told = notifier(systemd, live, WATCHDOG_USEC="30000000")
    told.turn()
    live.changes["threads"] = {"reporter": 0.0}
    told.turn()

    assert ["STATUS=waiting for jobs", "WATCHDOG=1"] == systemd.hears()
    (said,) = systemd.hears()
    assert said.startswith("STATUS=The worker's thread 'reporter' has stood still")


def test_its_thread_feeds_the_watchdog_in_time(systemd: Listener) -> None:
    """Entered, it goes on by itself until it is left; the second meal proves that it comes again."""
    with notifier(systemd, WATCHDOG_USEC="200000"):
        assert ["STATUS=waiting for jobs", "WATCHDOG=1"] == systemd.hears()
        assert ["WATCHDOG=1"] == systemd.hears()


def test_a_watchdog_of_another_process_is_left_alone(systemd: Listener) -> None:
    """WATCHDOG_PID names somebody else."""
    notifier(systemd, WATCHDOG_USEC="30000000", WATCHDOG_PID="1").turn()

    assert ["STATUS=waiting for jobs"] == systemd.hears()


def test_without_systemd_nothing_is_done() -> None:
    """No socket, or one that nobody listens on, is no reason to stop working."""
    for environ in ({}, {"NOTIFY_SOCKET": "/nowhere/notify"}, {"NOTIFY_SOCKET": ""}):
        with Notifier(Posing(), environ) as told:
            told.ready()
            told.turn()
            told.stopping()


def job(number: int, state: str = "running") -> dict[str, Any]:
    return {"id": str(number), "state": state, "attempt": 1, "meters": []}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "waiting for jobs"),
        ({"jobs": {"1": job(17)}, "unsent": 2}, "running job 17, 2 updates unsent"),
        ({"jobs": {str(n): job(n) for n in range(5)}}, "running job 0, running job 1, running job 2, 2 more"),
        (
            {"api": {"ok": False, "at": 0, "error": "x"}, "unsent": 1},
            "waiting for jobs, 1 update unsent, API away",
        ),
        ({"jobs": {"1": {**job(1), "id": "1\nREADY=0"}}}, "running job 1?READY=0"),
    ],
    ids=["idle", "one job", "many", "API away", "an id with a line break"],
)
def test_the_text_says_what_it_does(changes: dict[str, Any], expected: str) -> None:
    """One line for ``systemctl status``; what comes from outside cannot make another."""
    assert expected == saying(living(**changes))
