"""``jobs`` and ``outbox``: which jobs are listed, and what the API has yet to hear."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from jobfetcher.cli.commands import app
from jobfetcher.cli.look import Unanswerable
from jobfetcher.cli.moments import ago
from persistence.store import SqlStore
from states.job import JobState, Trigger
from tests.store_life import brought_to, moved, spec
from tests.worker_process import until

DAY = 86400.0


class Clock:
    """Seconds since the epoch, as the test sets them."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[SqlStore]:
    """Job 1 failed three days ago, job 2 finished an hour ago, job 3 failed just now, job 4 runs."""
    now = time.time()
    with SqlStore(f"sqlite:///{tmp_path / 'jobfetcher.db'}", "w", clock=clock) as store:
        for number, age, state in (
            (1, 3 * DAY, JobState.ERROR),
            (2, 3600, JobState.FINISHED),
            (3, 0, JobState.ERROR),
            (4, 0, JobState.RUNNING),
        ):
            clock.now = now - age
            brought_to(store, store.add(spec(number)), state, detail="No beads.\nTraceback")
        yield store


def asked(folder: Path, *arguments: str) -> Any:
    done = CliRunner().invoke(app, [*arguments, "--json", "--path-base", str(folder)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], ["4", "3", "2", "1"]),
        (["--failed"], ["3", "1"]),
        (["--since", "2h"], ["4", "3", "2"]),
        (["--since", "2 d", "--failed"], ["3"]),
        (["--failed", "--state", "finished"], ["3", "2", "1"]),
        (["--failed", "--limit", "1"], ["3"]),
        (["--since", "2999-01-01"], []),
    ],
    ids=["all", "failed", "since", "failed since", "failed or finished", "limited", "none"],
)
def test_jobs_are_chosen(tmp_path: Path, store: SqlStore, arguments: list[str], expected: list[str]) -> None:
    """By how they ended, by when something last happened to them, newest first."""
    assert expected == [job["id"] for job in asked(tmp_path, "jobs", *arguments)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90s", 1000 - 90),
        ("30m", 1000 - 1800),
        ("1.5h", 1000 - 5400),
        ("3 D", 1000 - 3 * DAY),
        ("1w", 1000 - 7 * DAY),
        ("2026-01-31", datetime(2026, 1, 31).astimezone().timestamp()),
        ("2026-01-31T14:00", datetime(2026, 1, 31, 14).astimezone().timestamp()),
        ("2026-01-31T14:00+00:00", 1769868000.0),
    ],
)
def test_a_time_is_understood(text: str, expected: float) -> None:
    """A span before now, a local date or time, or one with its zone."""
    assert expected == ago(text, now=1000.0)


@pytest.mark.parametrize("text", ["", "soon", "2", "h", "2026-13-01", "-2h", "9999-12-31T23:59:59-23:59"])
def test_what_is_no_time_is_named(text: str) -> None:
    """With what to write instead."""
    with pytest.raises(Unanswerable, match="is no time; write 90s"):
        ago(text)


def test_a_job_shows_the_try_that_it_is_at(tmp_path: Path, store: SqlStore) -> None:
    """Made progress since it was counted, it is at its first."""
    done = CliRunner().invoke(app, ["show", "4", "--path-base", str(tmp_path)], catch_exceptions=False)

    assert (True, False) == (", attempt 1" in done.stdout, "attempt 0" in done.stdout)


def test_json_is_not_watched(tmp_path: Path, store: SqlStore) -> None:
    """The two options exclude each other, as a mistake in the call."""
    done = CliRunner().invoke(app, ["jobs", "--watch", "--json", "--path-base", str(tmp_path)])

    assert (done.exit_code, "--watch draws for people" in done.output) == (2, True)


def test_watching_draws_anew_and_ends_cleanly(tmp_path: Path, store: SqlStore) -> None:
    """A job that comes later appears by itself; Ctrl-C leaves with 0 and no traceback."""
    terminal, inside = pty.openpty()
    # Whoever runs the tests in the background has had SIGINT ignored; a terminal has not.
    python = ["env", "--default-signal=INT", sys.executable]
    command = [*python, "-m", "jobfetcher", "jobs", "--watch", "--path-base", str(tmp_path)]
    environ = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    seen = b""

    def shows(text: bytes) -> bool:
        nonlocal seen
        seen += os.read(terminal, 65536)
        return text in seen

    with subprocess.Popen(command, stdin=inside, stdout=inside, stderr=inside, env=environ) as watching:
        until("the first table", lambda: shows(b"running"))
        moved(store, store.add(spec(5)), Trigger.ACCEPTED)
        until("the new job", lambda: shows(b"downloading"))
        watching.send_signal(signal.SIGINT)
        code = watching.wait(30)
    os.close(inside)
    os.close(terminal)

    assert (code, b"Traceback" in seen, b"Aborted" in seen) == (0, False, False)


def test_a_home_is_understood_where_the_shell_leaves_it(tmp_path: Path, store: SqlStore) -> None:
    """``--path-base=~/x`` reaches the program as it was typed."""
    command = [sys.executable, "-m", "jobfetcher", "jobs", "--json", "--path-base=~/"]
    home = {**os.environ, "HOME": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, check=True, env=home)

    assert len(json.loads(done.stdout)) == 4


def test_what_the_system_complains_of_is_a_sentence(tmp_path: Path) -> None:
    """A path that cannot even be looked at ends in one line and no traceback."""
    place = tmp_path / ("x" * 300)
    command = [sys.executable, "-m", "jobfetcher", "jobs", "--path-base", str(place)]
    done = subprocess.run(command, capture_output=True, check=False, text=True)

    said = f"jobfetcher: {place}/jobfetcher.db cannot be used (file name too long); "
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"{said}check the path, its permissions and its disk.\n"


def test_a_terminal_that_lacks_a_letter_gets_another(tmp_path: Path, store: SqlStore) -> None:
    """An old encoding of the terminal ends in a question mark, not in a traceback."""
    made = spec(9)
    store.add(
        made.model_copy(update={"handler": made.handler.model_copy(update={"image_url": "büsybox:Ω\nx"})})
    )
    command = [sys.executable, "-m", "jobfetcher", "jobs", "--path-base", str(tmp_path)]
    latin = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    done = subprocess.run(command, capture_output=True, check=False, env=latin)

    assert (done.returncode, done.stderr) == (0, b"")
    assert "büsybox:??x".encode("latin-1") in done.stdout


def test_the_outbox_is_what_the_api_has_yet_to_hear(tmp_path: Path, store: SqlStore, clock: Clock) -> None:
    """Oldest first, with its age; not what was acknowledged, nor what is said of a job that is gone."""
    for update in store.unsent():
        store.mark_sent(update)
    (fourth,) = store.find("4")
    store.mark_gone(fourth.key)

    lines = asked(tmp_path, "outbox")

    assert [(line["job"], line["status"]) for line in lines] == [
        ("1", "error"),
        ("2", "running"),
        ("2", "postprocessing"),
        ("2", "finished"),
        ("3", "error"),
    ]
    assert 3 * DAY <= lines[0]["age"] < 3 * DAY + 600


def test_for_people_the_outbox_is_a_table(tmp_path: Path, store: SqlStore) -> None:
    """The first line of a detail is enough; an empty outbox is said to be one."""
    command = ["outbox", "--path-base", str(tmp_path)]
    full = CliRunner().invoke(app, command).output
    while updates := store.unsent():
        for update in updates:
            store.mark_sent(update)

    assert ("3 d 0 h" in full, "No beads." in full, "Traceback" in full) == (True, True, False)
    assert CliRunner().invoke(app, command).output == "The API has heard everything.\n"
