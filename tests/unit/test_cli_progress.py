"""``jobs`` and ``show`` say how far live jobs are."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from jobfetcher import board_file
from jobfetcher.cli import moving
from jobfetcher.cli.commands import app
from persistence.store import SqlStore
from states.job import JobState
from tests.store_life import brought_to, spec

GIB, MIB = 1024**3, 1024**2


def reading(phase: str = "download", **changes: Any) -> dict[str, Any]:
    plain = {"done": 0, "total": None, "files": 0, "files_total": None, "rate": 0.0, "seconds_left": None}
    return {"phase": phase, **plain, **changes}


FAR = reading(
    done=int(0.62 * GIB), total=GIB, files=3, files_total=20, rate=38.0 * MIB, seconds_left=14.2
)  # fmt: skip


@pytest.mark.parametrize(
    ("readings", "expected"),
    [
        ([FAR], "61 % of 1.0 GiB, 38.0 MiB/s, 14 s left"),
        ([reading(files=3, files_total=20)], "3 of 20 files"),
        ([reading(files=3, files_total=20, done=2 * MIB, rate=2048.0)], "3 of 20 files, 2.0 MiB, 2.0 KiB/s"),
        ([reading("pull", done=4, total=10)], "pulling 40 % of 10 B"),
        ([reading("pull", files=1, files_total=7)], "pulling 1 of 7 layers"),
        ([reading("pull", done=10, total=10, rate=3.0)], "unpacking 10 B"),
        ([reading("upload"), reading("pull")], "beginning; pulling beginning"),
        ([reading(total=0, files=0, files_total=2)], "0 of 2 files"),
        ([], ""),
    ],
    ids=[
        "all known",
        "sizes unknown",
        "some bytes",
        "pull",
        "layers",
        "unpacking",
        "begins",
        "empty files",
        "nothing",
    ],
)
def test_one_line_says_how_far(readings: list[dict[str, Any]], expected: str) -> None:
    """What is known is said, in the order of interest; what is not is left out."""
    assert expected == moving.brief(readings)


def test_each_thing_has_its_own_line_where_there_is_room() -> None:
    """With its files, too."""
    shown = moving.lines([FAR, reading("pull", done=5, total=10, files=1, files_total=2)])

    assert shown == {
        "downloading": "61 % of 1.0 GiB, 3 of 20 files, 38.0 MiB/s, 14 s left",
        "pulling": "50 % of 10 B, 1 of 2 layers",
    }


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlStore]:
    """Job 1 has finished, job 2 is downloading; the worker says so of both."""
    with SqlStore(f"sqlite:///{tmp_path / 'jobfetcher.db'}", "w") as store:
        jobs = [brought_to(store, store.add(spec(1)), JobState.FINISHED),
                brought_to(store, store.add(spec(2)), JobState.DOWNLOADING)]  # fmt: skip
        meters = {str(job.key): {"id": job.id, "meters": [FAR]} for job in jobs}
        board_file.write(tmp_path, {"at": time.time(), "pid": os.getpid(), "jobs": meters})
        yield store


def printed(folder: Path, *arguments: str) -> str:
    done = CliRunner().invoke(app, [*arguments, "--path-base", str(folder)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_jobs_has_a_column_while_something_moves(tmp_path: Path, store: SqlStore) -> None:
    """Only live jobs have progress; without any the column is not there."""
    busy = printed(tmp_path, "jobs").splitlines()
    board_file.remove(tmp_path)
    idle = printed(tmp_path, "jobs")

    assert ["PROGRESS" in busy[0], "61 % of 1.0 GiB, 38.0 MiB/s, 14 s left" in busy[1], "%" in busy[2]] == [
        True, True, False,
    ]  # fmt: skip
    assert "PROGRESS" not in idle


def test_show_has_a_line_for_each_thing_under_way(tmp_path: Path, store: SqlStore) -> None:
    """Among the facts; not for a job that has ended."""
    live, ended = printed(tmp_path, "show", "2"), printed(tmp_path, "show", "1")

    assert "downloading  61 % of 1.0 GiB, 3 of 20 files, 38.0 MiB/s, 14 s left" in live
    assert "61 %" not in ended


def test_json_has_the_readings(tmp_path: Path, store: SqlStore) -> None:
    """For programs: every figure, unrounded."""
    listed = json.loads(printed(tmp_path, "jobs", "--json"))
    shown = json.loads(printed(tmp_path, "show", "2", "--json"))

    assert [[FAR], []] == [job["progress"] for job in listed]
    assert [FAR] == shown["progress"]
