"""The worker's status file: whole or not at all, for this account only, and never mistaken for news."""

import os
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from jobfetcher import board_file


def status(**changes: Any) -> dict[str, Any]:
    return {"at": time.time(), "pid": os.getpid(), "jobs": {}, **changes}


@pytest.fixture
def nobody() -> int:
    """The number of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


def test_what_is_written_is_read(tmp_path: Path) -> None:
    """Only this account may read it, and no draft is left."""
    written = status(draining=True)
    board_file.write(tmp_path, written)

    assert written == board_file.read(tmp_path)
    assert stat.S_IMODE((tmp_path / board_file.NAME).stat().st_mode) == 0o600
    assert [board_file.NAME] == [path.name for path in tmp_path.iterdir()]


@pytest.mark.parametrize(
    "text", ["", '{"at": 1', "[]", '"x"', '{"pid": 1}', '{"at": "x", "pid": 1}', "\udcff"], ids=str.__repr__
)
def test_what_cannot_be_read_is_nothing(tmp_path: Path, text: str) -> None:
    """A torn or foreign file tells nothing, and nobody stumbles over it."""
    (tmp_path / board_file.NAME).write_bytes(text.encode(errors="surrogateescape"))

    assert board_file.read(tmp_path) is None


def test_no_file_is_nothing(tmp_path: Path) -> None:
    """Where no worker runs there is none; removing it twice is as good as once."""
    board_file.remove(tmp_path)

    assert board_file.read(tmp_path) is None


@pytest.mark.parametrize(("age", "found"), [(29, True), (31, False)])
def test_a_dead_worker_s_file_is_soon_nothing(tmp_path: Path, nobody: int, age: float, found: bool) -> None:
    """A worker in a container has a number that means nothing here: its file counts while it is fresh."""
    board_file.write(tmp_path, status(at=time.time() - age, pid=nobody))

    assert (board_file.read(tmp_path) is not None) == found


def test_a_worker_that_lives_but_is_late_is_still_shown(tmp_path: Path) -> None:
    """A machine that is very busy, or was asleep, is no reason to hide what is known."""
    board_file.write(tmp_path, status(at=time.time() - 3600))

    assert board_file.read(tmp_path) is not None


def test_reading_it_loads_nothing_heavy() -> None:
    """Commands that look stay quick."""
    code = (
        "import sys, jobfetcher.board_file, jobfetcher.cli.moving\n"
        "print([n for n in ('pydantic', 'sqlalchemy', 'rich', 'requests', 'logging') if n in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert ran.stdout == "[]\n"
