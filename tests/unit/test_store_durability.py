"""Not persisted = did not happen; persisted = survives SIGKILL."""

import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest

from persistence.store import SqlStore
from states.job import ApiStatus

WRITER = """
import sys
from itertools import count
from persistence.store import SqlStore
from states.job import Trigger
from states.machine import fire
from states.spec import JobSpec

store = SqlStore(sys.argv[1], "w")
for number in count():
    job = store.add(JobSpec.parse(str(number), {"app": 1}))
    for trigger in (Trigger.ACCEPTED, Trigger.DOWNLOADED):
        job = store.commit(job, fire(job, trigger), trigger)
        print(job.key, job.version, job.state.value, flush=True)
"""

HANGING_WRITER = """
import sys, time
from sqlalchemy import event
from persistence.store import SqlStore
from states.spec import JobSpec

store = SqlStore(sys.argv[1], "w")

@event.listens_for(store.engine, "after_cursor_execute")
def hang(*values):
    if values[2].startswith("INSERT INTO outbox"):
        print("inside", flush=True)
        time.sleep(600)

store.add(JobSpec.parse("1", {}))
"""


@pytest.mark.row(52)
def test_every_move_that_was_returned_survives_sigkill(tmp_path: Path) -> None:
    """A process that reports each move after its commit is killed: no reported move is missing, and each
    has its history and its status."""
    url = f"sqlite:///{tmp_path / 'jobs.db'}"
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, url], stdout=subprocess.PIPE, text=True, bufsize=1
    ) as writer:
        assert writer.stdout is not None
        reported = list(islice(writer.stdout, 41))
        writer.kill()
        reported += [line for line in writer.stdout if line.endswith("\n")]

    with SqlStore(url, "w") as store:
        for key, version, state in (line.split() for line in reported):
            history = store.history(int(key))
            assert store.get(int(key)).version >= int(version)
            assert state == history[int(version) - 1].target
        for job in store.live():
            assert job.version == len(store.history(job.key))
            told = [ApiStatus.PREPROCESSING, ApiStatus.RUNNING][: 1 + (job.state == "running")]
            assert told == [row.status for row in store.outbox(job.key)]
    assert len(reported) >= 41


def test_a_killed_writer_locks_nobody_out(tmp_path: Path) -> None:
    """A process killed inside a transaction leaves no lock, and nothing of the transaction."""
    url = f"sqlite:///{tmp_path / 'jobs.db'}"
    with subprocess.Popen(
        [sys.executable, "-c", HANGING_WRITER, url], stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "inside\n"
        writer.kill()

    with SqlStore(url, "w") as store:
        assert store.all_jobs() == []
