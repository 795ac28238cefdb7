"""When a worker counts as alive and as ready, and who may ask."""

import fcntl
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from jobfetcher import board_file
from jobfetcher.cli import health
from jobfetcher.lock import state_lock
from jobfetcher.status.health import LONG_PATIENCE, PATIENCE, Disk, Verdict, alive, ready, works
from jobfetcher.status.hosts import is_ours
from jobfetcher.status.server import PortUnusable, StatusServer
from tests.status_scene import living

AT = 1_000_000.0
MIB = 1024 * 1024
ROOMY = Disk(free=10 * MIB, total=100 * MIB, least=5 * MIB)


def beats(**ages: float) -> dict[str, Any]:
    """A healthy worker, but for threads that came round so many seconds ago."""
    status = living(AT)
    return {**status, "threads": {**status["threads"], **{name: AT - age for name, age in ages.items()}}}


def test_a_worker_whose_threads_turn_is_alive() -> None:
    """No problem, and the text says so."""
    verdict = alive(living(AT))

    assert Verdict() == verdict
    assert ("ok\n", {"ok": True, "problems": []}) == (verdict.text, verdict.as_dict())


@pytest.mark.parametrize("name", ["worker", "reporter", "sweeper", "control"])
def test_each_thread_that_stands_still_is_named(name: str) -> None:
    """One sentence for each, once its patience is over and not before."""
    patience = PATIENCE.get(name, LONG_PATIENCE)
    verdict = alive(beats(**{name: patience + 1}))

    assert alive(beats(**{name: patience - 1})).ok
    assert [
        f"The worker's thread '{name}' has stood still for {patience + 1:.0f} s; restart the worker."
    ] == [*verdict.problems]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"draining": True}, "draining"),
        (
            {"api": {"ok": False, "at": AT, "error": "connection refused"}},
            "The API does not answer (connection",
        ),
        ({"api": {"ok": None, "at": None, "error": ""}}, "The API has not answered since"),
        ({"engine": {"ok": False, "at": AT, "error": "It is away."}}, "engine does not answer (It is away);"),
        ({"engine": {"ok": True, "at": AT - 900, "error": ""}}, "engine has not been heard of for 900 s"),
    ],
    ids=["draining", "API away", "API not asked", "engine away", "engine silent"],
)
def test_what_keeps_a_worker_from_taking_jobs_on(change: dict[str, Any], expected: str) -> None:
    """It lives all the same: readiness is no reason to restart it."""
    status = {**living(AT), **change}
    (problem,) = ready(status, ROOMY).problems

    assert expected in problem
    assert alive(status).ok


def test_a_full_disk_keeps_it_from_taking_jobs_on() -> None:
    """Less than MIN_FREE_DISK: the sentence has both numbers."""
    (problem,) = ready(living(AT), Disk(free=3 * MIB, total=9 * MIB, least=5 * MIB)).problems

    assert problem.startswith("Only 3 MiB are free and 5 MiB must stay free")


def test_a_worker_on_a_full_disk_lives_and_is_not_healthy() -> None:
    """One sentence, from the disk, or from the database where that could not be written; no reason for the
    watchdog to end the worker."""
    disk, refused = Disk(free=4096, total=40 * MIB, least=0), "The database cannot grow: its disk is full."
    full = "The disk is full: 4 KiB of 40 MiB are free; make room."

    for verdict in (works, ready):
        assert (full,) == verdict(living(AT), disk).problems
        assert (refused,) == verdict(living(AT, database={"full": refused}), disk).problems
        assert (refused,) == verdict(living(AT, database={"full": refused}), ROOMY).problems
        assert verdict(living(AT, database={"full": ""}), ROOMY).ok
    assert alive(living(AT, database={"full": refused})).ok


def test_on_a_full_disk_an_old_status_file_is_no_sign_of_death(tmp_path: Path) -> None:
    """It cannot be written: what is said is that the disk is full."""
    board_file.write(tmp_path, {**living(AT), "pid": os.getpid()})
    with state_lock(tmp_path):
        full = health.of_files(tmp_path, AT + 300, lambda _: (40 * MIB, 40 * MIB, 0)).text
        roomy = health.of_files(tmp_path, AT + 300, lambda _: (40 * MIB, 0, 40 * MIB)).text

    assert "The disk is full: 0 KiB of 40 MiB are free; make room.\n" == full
    assert "no sign of life for 300 s" in roomy


def test_a_worker_without_an_engine_needs_none() -> None:
    """RUNNER=process: nobody asks the engine, and nobody misses it."""
    status = living(AT, runner="process", engine={"ok": None, "at": None, "error": ""})

    assert ready(status, ROOMY).ok


@pytest.mark.parametrize(
    ("header", "host", "expected"),
    [
        ("127.0.0.1:9100", "127.0.0.1", True),
        ("localhost:9100", "127.0.0.1", True),
        ("LocalHost", "127.0.0.1", True),
        ("[::1]:9100", "127.0.0.1", True),
        ("127.5.5.5", "127.0.0.1", True),
        ("evil.example.org:9100", "127.0.0.1", False),
        ("localhost.evil.example.org", "127.0.0.1", False),
        ("192.0.2.7:9100", "127.0.0.1", False),
        (None, "127.0.0.1", False),
        ("", "127.0.0.1", False),
        ("lab-7:9100", "lab-7", True),
        ("192.0.2.7:9100", "192.0.2.7", True),
        ("192.0.2.8:9100", "192.0.2.7", False),
        ("192.0.2.7:9100", "0.0.0.0", True),
        ("evil.example.org", "0.0.0.0", False),
        ("[2001:db8::1]:9100", "::", True),
    ],
)
def test_a_name_that_was_made_to_mean_this_machine_is_refused(
    header: str | None, host: str, expected: bool
) -> None:
    """The Host of a request is loopback, or what STATUS_HOST says; names never lie in addresses."""
    assert expected == is_ours(header, host)


def test_a_port_that_is_taken_is_named() -> None:
    """The message has the variable, the address, and what to do."""
    with StatusServer("127.0.0.1", 0) as first, pytest.raises(PortUnusable) as raised:
        StatusServer("127.0.0.1", first.server_address[1])

    assert f"STATUS_PORT {first.server_address[1]} cannot be opened on STATUS_HOST 127.0.0.1" in str(
        raised.value
    )
    assert "choose another one" in str(raised.value)


def test_a_host_that_does_not_exist_is_named() -> None:
    """Likewise for the address."""
    with pytest.raises(PortUnusable, match="STATUS_HOST 192"):
        StatusServer("192.0.2.1", 0)


def examine(base: Path, **variables: str) -> str:
    """What ``jobfetcher health`` finds, as text."""
    return health.examine(base, variables.get).text


def test_without_a_port_the_lock_is_the_sign_of_life(tmp_path: Path) -> None:
    """Nobody holds it: no worker. Somebody does, and has only just started: alive."""
    (tmp_path / "jobfetcher.lock").touch()

    assert examine(tmp_path).startswith(f"No worker runs in {tmp_path}")
    with (tmp_path / "jobfetcher.lock").open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert examine(tmp_path) == "ok\n"
        assert examine(tmp_path, STATUS_PORT="0") == "ok\n"


@pytest.mark.parametrize(
    ("at", "thread", "expected"),
    [
        (0.0, 0.0, "ok\n"),
        (-90.0, -90.0, "no sign of life for 90 s"),
        (0.0, -400.0, "'reporter' has stood still"),
    ],
    ids=["fresh", "silent", "a thread stands still"],
)
def test_the_status_file_tells_more(tmp_path: Path, at: float, thread: float, expected: str) -> None:
    """A worker that holds its lock but writes no more, or complains, is not healthy."""
    now = time.time()
    threads = {"worker": now + at, "reporter": now + thread}
    status = {**living(now + at), "pid": 1, "threads": threads}
    (tmp_path / board_file.NAME).write_text(json.dumps(status))
    with (tmp_path / "jobfetcher.lock").open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)

        assert expected in examine(tmp_path)


def test_a_port_that_nobody_answers_is_unhealthy(tmp_path: Path) -> None:
    """The sentence names the address."""
    with StatusServer("127.0.0.1", 0) as server:
        port = str(server.server_address[1])

    assert examine(tmp_path, STATUS_PORT=port).startswith(
        f"No worker answers at http://127.0.0.1:{port}/healthz"
    )
