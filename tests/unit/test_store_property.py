"""``FakeStore`` stands in for ``SqlStore`` elsewhere: whatever is done to both, they agree."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from persistence.migrate import upgrade
from persistence.store import SqlStore
from states.errors import IllegalMove, StaleJob
from states.job import Exit, Job, Trigger
from states.machine import fire
from states.ports import Store, StoredFile
from tests.fake_store import FakeStore
from tests.store_life import spec

Operation = tuple[str, int, int]


def numbered(number: int) -> StoredFile:
    direction = ("down", "up")[number % 2]
    return StoredFile(direction=direction, kind="input", path=f"{number % 3}", size=number)


class Driver:
    """Does the same to any store. ``hands`` are the jobs as somebody holds them: some of them stale."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.hands: list[Job] = []

    def do(self, operation: Operation) -> str:
        """Returns how it went, as text to compare."""
        name, which, number = operation
        try:
            return repr(getattr(self, name)(which, number))
        except (StaleJob, IllegalMove) as error:
            return type(error).__name__

    def held(self, which: int) -> Job:
        return self.hands[which % len(self.hands)]

    def keep(self, job: Job) -> Job:
        self.hands.append(job)
        return job

    def add(self, which: int, number: int) -> list[Job]:
        return [self.keep(job) for job in self.store.add_all([spec(which % 3), spec(number % 3)])]

    def begin(self, which: int, number: int) -> Job:
        return self.keep(self.store.begin(self.held(which)))

    def forgive(self, which: int, number: int) -> None:
        self.store.forgive(self.held(which))

    def note(self, which: int, number: int) -> Job:
        return self.keep(self.store.note(self.held(which).with_facts(detail=str(number))))

    def record(self, which: int, number: int) -> None:
        self.store.record_file(self.held(which), numbered(number))

    def move(self, which: int, number: int) -> Job:
        trigger = list(Trigger)[number % len(Trigger)]
        before = self.held(which)
        after = fire(before.with_facts(exit=Exit(code=number % 2)), trigger)
        return self.keep(self.store.commit(before, after, trigger))

    def onward(self, which: int, number: int) -> Job:
        """A legal move, so that jobs reach their ends often."""
        before = self.store.get(self.held(which).key)
        for trigger in (Trigger.ACCEPTED, Trigger.DOWNLOADED, Trigger.EXITED, Trigger.UPLOADED):
            try:
                after = fire(before.with_facts(exit=Exit(code=number % 2)), trigger)
            except IllegalMove:
                continue
            return self.keep(self.store.commit(before, after, trigger))
        return before

    def send(self, which: int, number: int) -> None:
        for update in self.store.unsent(limit=1 + number % 3):
            self.store.mark_sent(update)

    def gone(self, which: int, number: int) -> None:
        self.store.mark_gone(self.held(which).key)

    def everything(self) -> object:
        keys = sorted({job.key for job in self.hands})
        jobs = [self.store.get(key) for key in keys]
        files = [[self.store.files(job, way) for way in ("down", "up")] for job in jobs]
        reported = [self.store.reported(key) for key in keys]
        return jobs, files, reported, self.store.live(), self.store.unsent(), self.store.unsent(limit=1)


@pytest.fixture(scope="module")
def template() -> Iterator[Path]:
    """A new database, made once."""
    with tempfile.TemporaryDirectory() as folder:
        yield upgrade(f"sqlite:///{Path(folder) / 'template.db'}")


@contextmanager
def copied(template: Path) -> Iterator[SqlStore]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(shutil.copy(template, Path(folder) / "jobs.db"))
        with SqlStore(f"sqlite:///{path}", "w", clock=lambda: 0.0) as store:
            yield store


NAMES = ["add", "begin", "forgive", "note", "record", "move", "onward", "onward", "send", "gone"]
OPERATIONS = st.lists(
    st.tuples(st.sampled_from(NAMES), st.integers(0, 30), st.integers(0, 30)), min_size=5, max_size=40
)


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(operations=OPERATIONS)
def test_fake_and_sql_agree(template: Path, operations: list[Operation]) -> None:
    """Any sequence of calls, stale and illegal ones too, returns and leaves the same in both."""
    with copied(template) as store:
        fake, sql = Driver(FakeStore()), Driver(store)
        for operation in [("add", 0, 1), *operations]:
            assert fake.do(operation) == sql.do(operation)
        assert fake.everything() == sql.everything()
