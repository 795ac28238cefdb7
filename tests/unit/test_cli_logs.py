"""``logs``: what a job's process has written, while it is here; and where it is afterwards."""

import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobfetcher.cli.joblog import Gone, of_process
from persistence.store import SqlStore
from states.job import Job, JobState, Run
from states.ports import StoredFile
from tests.store_life import brought_to, spec

RUN = Run(name="jobfetcher-w-1", id="abc", epoch="")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlStore]:
    with SqlStore(f"sqlite:///{tmp_path / 'jobfetcher.db'}", "w") as store:
        yield store


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """The run's folder, with what it has written."""
    place = tmp_path / "runs" / RUN.name
    place.mkdir(parents=True)
    (place / "output.log").write_bytes("eins\nzwei ü \xff\n".encode("latin-1"))
    return place


def job(store: SqlStore, state: JobState, run: Run | None = RUN) -> Job:
    made = brought_to(store, store.add(spec(1)), state)
    return store.note(made.with_facts(run=run, image_id="process:busybox"))


def logs(folder: Path, *arguments: str) -> tuple[int, bytes, str]:
    command = [sys.executable, "-m", "jobfetcher", "logs", "1", *arguments, "--path-base", str(folder)]
    done = subprocess.run(command, capture_output=True, check=False)
    return done.returncode, done.stdout, done.stderr.decode()


def test_what_was_written_is_printed_as_it_is(tmp_path: Path, store: SqlStore, place: Path) -> None:
    """Byte by byte, text or not; with ``--json`` line by line."""
    job(store, JobState.RUNNING)

    assert logs(tmp_path) == (0, (place / "output.log").read_bytes(), "")
    lines = '{"line": "eins"}\n{"line": "zwei \N{REPLACEMENT CHARACTER} \N{REPLACEMENT CHARACTER}"}\n'
    assert lines.encode() == logs(tmp_path, "--json")[1]


def test_a_terminal_gets_no_orders_from_a_job(tmp_path: Path, store: SqlStore, place: Path) -> None:
    """Titles, colours and cursor movements of the log stay away from a terminal; its text does not."""
    job(store, JobState.RUNNING)
    (place / "output.log").write_bytes(b"\x1b]0;mine\x07\x1b[31mred\x1b[0m\tok\n\x1bc\x9b2J 50 %\r51 %\n")
    command = [sys.executable, "-m", "jobfetcher", "logs", "1", "--path-base", str(tmp_path)]
    ours, theirs = pty.openpty()

    done = subprocess.run(command, stdout=theirs, stderr=subprocess.PIPE, check=False)
    os.close(theirs)
    seen = os.read(ours, 4096).decode()
    os.close(ours)

    odd = "\N{REPLACEMENT CHARACTER}"
    assert (done.returncode, done.stderr) == (0, b"")
    assert seen == f"red\tok\r\n{odd}c{odd}2J 50 %\r51 %\r\n"


def test_following_goes_on_until_the_run_ends(place: Path) -> None:
    """What is written between two looks comes, and what is written last comes too."""
    later = iter(["drei\n", "vier\n"])

    def sleep(_: float) -> None:
        with (place / "output.log").open("a") as output:
            output.write(next(later))
        if next(later, None) == "vier\n":
            with (place / "output.log").open("a") as output:
                output.write("vier\n")
            (place / "exit.json").write_text("{}")

    assert b"".join(of_process(place, True, sleep)).endswith(b"\ndrei\nvier\n")


def test_a_run_that_is_removed_ends_the_following(place: Path) -> None:
    """The folder goes while somebody reads: the end, and no error; later it is gone."""

    def sleep(_: float) -> None:
        (place / "output.log").unlink()
        place.rmdir()

    assert len(list(of_process(place, True, sleep))) == 1
    with pytest.raises(Gone):
        list(of_process(place, False))


def test_a_log_that_was_uploaded_is_named(tmp_path: Path, store: SqlStore) -> None:
    """By its path among the results."""
    ended = job(store, JobState.FINISHED)
    store.record_file(ended, StoredFile(direction="up", kind="log", path="log/container.log", size=1))

    assert logs(tmp_path) == (
        1,
        b"",
        "jobfetcher: The container of job 1 is gone; its log was uploaded with the results, as "
        "log/container.log.\n",
    )


def test_a_log_whose_container_is_gone_is_read_from_its_copy(tmp_path: Path, store: SqlStore) -> None:
    """As long as the job's files are kept (``KEEP_JOBS``)."""
    ended = store.add(spec(1))
    name = ended.run_name
    ended = job(store, JobState.FINISHED, Run(name=name, id="abc", epoch=""))
    copy = tmp_path / "jobs" / ended.slug / "1.log"
    copy.parent.mkdir(parents=True)
    copy.write_bytes(b"eins\nzwei\n")

    assert logs(tmp_path) == (0, b"eins\nzwei\n", "")


@pytest.mark.parametrize(
    ("state", "run", "expected"),
    [
        (JobState.CANCELLED, RUN, "is gone, and its log was not uploaded"),
        (JobState.DOWNLOADING, None, "has no container yet: it is downloading"),
        (JobState.ERROR, None, "has no container. 'jobfetcher show 1' has what is known"),
    ],
    ids=["not uploaded", "not yet", "never"],
)
def test_where_there_is_no_log_a_sentence_says_why(
    tmp_path: Path, store: SqlStore, state: JobState, run: Run | None, expected: str
) -> None:
    """Exit code 1."""
    job(store, state, run)

    code, _, said = logs(tmp_path)

    assert (code, expected in said) == (1, True), said


def test_a_job_that_is_swept_needs_no_engine(tmp_path: Path, store: SqlStore) -> None:
    """Its container is known to be gone."""
    ended = job(store, JobState.ERROR)
    store.note(store.get(ended.key).with_facts(image_id="sha256:0"))
    store.mark_swept(ended.key)

    assert "is gone, and its log was not uploaded" in logs(tmp_path)[2]


def test_an_unknown_job_is_named(tmp_path: Path, store: SqlStore) -> None:
    """With what to ask instead."""
    code, _, said = logs(tmp_path)

    assert (code, "There is no job '1'" in said) == (1, True)
