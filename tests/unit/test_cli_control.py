"""Commands that act on a worker, where none runs: what they say, what they refuse, what they leave."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobfetcher.cli import asking
from jobfetcher.lock import Holder, holder, state_lock
from persistence.requests import Answer, Desk, Request
from persistence.store import SqlStore
from states.job import JobState
from tests.store_life import brought_to, spec
from tests.worker_process import DEADLINE

KEPT = "No worker runs here. The request is kept, and done when it starts.\n"


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """The folder of a worker that has run: one job has ended, one is live."""
    (tmp_path / "worker-id").write_text("w\n")
    with SqlStore(f"sqlite:///{tmp_path / 'jobfetcher.db'}", "w") as store:
        ended, _ = store.add_all([spec(1), spec(2)])
        brought_to(store, ended, JobState.FINISHED)
    return tmp_path


def command(base: Path, *arguments: str) -> tuple[int, str, str]:
    """The exit code, and what was said."""
    argv = [sys.executable, "-m", "jobfetcher", *arguments, "--path-base", str(base)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout, done.stderr


def waiting(base: Path) -> list[Request]:
    with Desk(base / "jobfetcher.db", "w") as desk:
        return desk.waiting()


@pytest.mark.parametrize(
    ("arguments", "kind", "job", "said"),
    [
        (["cancel", "2", "--reason", "Später."], "cancel", 2, {"reason": "Später."}),
        (["retry-upload", "1", "--all"], "retry-upload", 1, {"all": True}),
        (["drain"], "drain", None, {}),
        (["resume"], "resume", None, {}),
        (["prune"], "prune", None, {"dry_run": False, "history": None}),
        (["prune", "--dry-run"], "prune", None, {"dry_run": True, "history": None}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_request_is_kept(
    base: Path, arguments: list[str], kind: str, job: int | None, said: object
) -> None:
    """Without a worker each command leaves its request, says so at once, and ends with 0."""
    assert command(base, *arguments) == (0, KEPT, "")

    assert [(one.kind, one.job_key, one.arguments) for one in waiting(base)] == [(kind, job, said)]
    assert sorted(place.name for place in base.iterdir()) == ["jobfetcher.db", "worker-id"]


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (["cancel", "1"], 1, "Job 1 has ended already: finished."),
        (["cancel", "7"], 1, "There is no job '7'"),
        (["retry-upload", "7"], 1, "There is no job '7'"),
        (["prune", "--history", "12h"], 2, "needs at least 1d"),
        (["prune", "--history", "soon"], 2, "'soon' is no time"),
        (["drain", "--wait", "--no-wait"], 2, "exclude each other"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_makes_no_sense_is_not_asked(base: Path, arguments: list[str], code: int, expected: str) -> None:
    """It is refused in a sentence, and leaves no request."""
    ended, _, complaint = command(base, *arguments)

    assert (ended, expected in complaint) == (code, True)
    assert waiting(base) == []


@pytest.mark.parametrize("arguments", [["cancel", "1"], ["drain"], ["prune"]], ids=" ".join)
def test_where_no_worker_ever_ran(tmp_path: Path, arguments: list[str]) -> None:
    """Nothing is made, and the sentence names the path."""
    code, _, complaint = command(tmp_path, *arguments)

    assert (code, f"There is no database at {tmp_path}" in complaint) == (1, True)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_its_name_is_not_the_workers(base: Path) -> None:
    """A database alone does not say whose it is."""
    (base / "worker-id").unlink()

    assert "set PATH_BASE to the worker's folder" in command(base, "drain")[2]


def test_json_says_all(base: Path) -> None:
    """Also that it is not done, and that nobody runs."""
    code, said, _ = command(base, "drain", "--json")

    expected = {"request": 1, "done": False, "refused": False, "answer": None, "worker": None}
    assert (code, json.loads(said)) == (0, expected)


def test_waiting_for_the_end_says_what_is_left(base: Path) -> None:
    """'drain --wait' ends with 1 where jobs are left and no worker runs: this is no moment to reboot."""
    code, said, _ = command(base, "drain", "--wait")

    assert code == 1
    assert "1 jobs have not ended, and the API has yet to hear 5 updates" in said


class Working:
    """Holds the folder as a worker does, and answers each request."""

    def __init__(self, base: Path, answer: Answer | None) -> None:
        self._base, self._answer = base, answer
        self._holding, self._stopping = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Working":
        self._thread.start()
        assert self._holding.wait(DEADLINE)
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        with state_lock(self._base), Desk(self._base / "jobfetcher.db", "w") as desk:
            self._holding.set()
            while not self._stopping.wait(0.02):
                if self._answer is not None:
                    for request in desk.waiting():
                        desk.answer(request, self._answer)


@pytest.mark.parametrize(
    ("answer", "code", "out", "err"),
    [
        (Answer("Removed 1 folder."), 0, "Removed 1 folder.\n", ""),
        (Answer("There is no such thing.", refused=True), 1, "", "jobfetcher: There is no such thing.\n"),
    ],
    ids=["done", "refused"],
)
def test_the_answer_is_printed(base: Path, answer: Answer, code: int, out: str, err: str) -> None:
    """As the worker gave it; the exit code says whether it was done."""
    with Working(base, answer):
        assert command(base, "prune") == (code, out, err)


def test_a_slow_worker_is_not_waited_for_in_vain(base: Path) -> None:
    """After the time-out the command ends; the request stays with the worker."""
    with Working(base, None):
        said = command(base, "cancel", "2", "--timeout", "0.3")
        at_once = command(base, "cancel", "2", "--no-wait")

    assert said == at_once == (0, "The worker has the request; it is not done yet.\n", "")
    assert len(waiting(base)) == 2


@pytest.fixture
def looked(base: Path) -> Iterator[Holder]:
    with Working(base, None):
        found = holder(base)
        assert found is not None
        yield found


def test_looking_at_the_lock_disturbs_nobody(base: Path, looked: Holder) -> None:
    """Whoever looks learns who holds it, as often as he likes; a later start is told from this one."""
    assert holder(base) == looked


def test_a_later_start_is_another_worker(base: Path) -> None:
    """Also with the same process id, as in a container."""
    with Working(base, None):
        first = holder(base)
    assert holder(base) is None
    with Working(base, None):
        second = holder(base)

    assert first is not None
    assert second is not None
    assert (first.pid == second.pid, first == second) == (True, False)


def test_a_week_is_a_week() -> None:
    """Spans are read as elsewhere, in seconds."""
    assert round(asking.history("2w")) == 14 * 86400
