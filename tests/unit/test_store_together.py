"""Calls of several threads that come together share a commit, and nothing else."""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, event, text

from persistence.engine import writing_engine
from persistence.together import MOST, Together
from tests.worker_process import until


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A database with one empty table."""
    path = tmp_path / "any.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE notes (text UNIQUE)")
    return path


@pytest.fixture
def engine(path: Path) -> Iterator[Engine]:
    engine = writing_engine(path, 1)
    yield engine
    engine.dispose()


class Scene:
    """Calls by threads of their own. ``held`` keeps the first from leaving until the others wait."""

    def __init__(self, engine: Engine, path: Path) -> None:
        self.commits = 0
        event.listen(engine, "commit", self._count)
        self._connection = engine.connect()
        self.together = Together(self._connection)
        self._path = path
        self._pool = ThreadPoolExecutor(MOST * 2)

    def close(self) -> None:
        self._pool.shutdown()
        self._connection.close()

    def _count(self, _: Connection) -> None:
        self.commits += 1

    def write(self, note: str, inside: Callable[[], object] = lambda: None) -> None:
        with self.together.call(lambda: None) as connection:
            connection.execute(text("INSERT INTO notes VALUES (:note)"), {"note": note})
            inside()

    def begun(self, note: str, inside: Callable[[], object] = lambda: None) -> "Future[None]":
        return self._pool.submit(self.write, note, inside)

    @contextmanager
    def held(self, others: int) -> "Iterator[Future[None]]":
        """The first call, which stays in its block until ``others`` more have come."""
        inside, go_on = threading.Event(), threading.Event()

        def stay() -> None:
            inside.set()
            go_on.wait(60)

        first = self.begun("first", stay)
        assert inside.wait(60)
        yield first
        until("the others to wait", lambda: self.together.waiting == others)
        go_on.set()

    def notes(self) -> set[str]:
        with closing(sqlite3.connect(self._path)) as reader:
            return {note for (note,) in reader.execute("SELECT text FROM notes")}


@pytest.fixture
def scene(engine: Engine, path: Path) -> Iterator[Scene]:
    scene = Scene(engine, path)
    yield scene
    scene.close()


def ended(*calls: "Future[None]") -> list[type[BaseException] | None]:
    errors = [call.exception(60) for call in calls]
    return [None if error is None else type(error) for error in errors]


def test_calls_that_wait_together_share_a_commit(scene: Scene) -> None:
    """Three threads, one wait for the disk; each returns after it."""
    with scene.held(others=2) as first:
        second, third = scene.begun("second"), scene.begun("third")

    assert [None, None, None] == ended(first, second, third)
    assert ({"first", "second", "third"}, 1) == (scene.notes(), scene.commits)


def test_a_call_alone_commits_by_itself(scene: Scene) -> None:
    """Nobody is waited for who is not there."""
    scene.write("a")
    scene.write("b")

    assert ({"a", "b"}, 2) == (scene.notes(), scene.commits)


def test_no_call_returns_before_its_commit(scene: Scene) -> None:
    """While a later one is still writing, the earlier one waits, and nobody else sees what it wrote."""
    seen: list[tuple[bool, set[str]]] = []
    with scene.held(others=1) as first:
        second = scene.begun("second", lambda: seen.append((first.done(), scene.notes())))

    assert ([None, None], [(False, set())]) == (ended(first, second), seen)


def stale() -> None:
    raise LookupError("somebody else was faster")


def test_what_one_call_undoes_is_its_own(scene: Scene) -> None:
    """An error within a call undoes that call; those before and after it are kept."""
    with scene.held(others=2) as first:
        second, third = scene.begun("second", stale), scene.begun("third")

    assert [None, LookupError, None] == ended(first, second, third)
    assert scene.notes() == {"first", "third"}


def test_the_first_call_s_error_is_its_own_too(scene: Scene) -> None:
    """Those that come after it begin anew."""
    with scene.held(others=0):
        pass
    failing = scene.begun("second", stale)
    third = scene.begun("third")

    assert [LookupError, None] == ended(failing, third)
    assert scene.notes() == {"first", "third"}


def test_a_commit_that_fails_fails_for_all_who_share_it(scene: Scene, engine: Engine) -> None:
    """Nobody is told that something was written which was not; the next call works again."""

    def full(_: Connection) -> None:
        raise sqlite3.OperationalError("disk full")

    event.listen(engine, "commit", full)
    with scene.held(others=1) as first:
        second = scene.begun("second")
    errors = ended(first, second)
    event.remove(engine, "commit", full)
    scene.write("later")

    assert [sqlite3.OperationalError] * 2 == errors
    assert scene.notes() == {"later"}


def test_a_transaction_that_the_database_drops_is_dropped_for_all(scene: Scene) -> None:
    """After some errors SQLite rolls everything back by itself: then no call of it has happened."""

    def dropped() -> None:
        scene.together.say("ROLLBACK")
        raise sqlite3.OperationalError("disk full")

    with scene.held(others=1) as first:
        second = scene.begun("second", dropped)
    errors = ended(first, second)
    scene.write("later")

    assert [sqlite3.OperationalError] * 2 == errors
    assert scene.notes() == {"later"}


def test_many_threads_lose_nothing(scene: Scene) -> None:
    """However they meet: what returned is there, what raised is not."""
    calls = {
        f"{number}": scene.begun(f"{number}", stale if number % 5 == 0 else int) for number in range(200)
    }
    failed = {note for note, call in calls.items() if call.exception(60) is not None}

    assert (set(calls) - failed, 40) == (scene.notes(), len(failed))


def test_whoever_wants_to_be_alone_finds_everything_committed(scene: Scene) -> None:
    """Closing waits for the call in progress and leaves no open transaction to those who come later."""
    with scene.held(others=1) as first:
        alone = scene._pool.submit(lambda: _seen_alone(scene))

    assert ([None], {"first"}) == (ended(first), alone.result(60))


def _seen_alone(scene: Scene) -> set[str]:
    with scene.together.alone():
        return scene.notes()
