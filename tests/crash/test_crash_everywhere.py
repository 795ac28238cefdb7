"""The whole loop over the real store, with the worker dying at every statement, commit and call of a port."""

import shutil
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from persistence.store import SqlStore
from states.advance import advance
from tests.crash_injection import CrashPoints, SimulatedCrash
from tests.fake_tools import Calls, FakeEngine, FakeTools, a_spec
from tests.stories import STORIES, Story


@dataclass
class Host:
    """What survives the worker: a database with one fetched job, and the engine."""

    folder: Path
    engine: FakeEngine

    def open(self) -> SqlStore:
        return SqlStore(f"sqlite:///{self.folder / 'jobs.db'}", "w", clock=lambda: 0.0)

    def live(self, story: Story, points: CrashPoints) -> None:
        """One life of the worker: the job found in the store, taken as far as it goes."""
        with closing(self.open()) as store:
            points.watch(store.engine)
            for job in store.live():
                tools = FakeTools(store, self.engine, Calls(story.planned())).watched(points)
                advance(job, points.watched(store, "store"), tools)

    def outcome(self) -> dict[str, object]:
        """All that is known and was done, but for the tries that a death costs."""
        with closing(self.open()) as store:
            (job,) = store.all_jobs()
            return {
                "job": job,
                "moves": [replace(move, attempts=0) for move in store.history(job.key)],
                "told": [(update.status, update.detail) for update in store.outbox(job.key)],
                "starts": self.engine.starts,
            }


@pytest.fixture
def a_host(tmp_path: Path) -> Callable[[Story], Host]:
    """Makes hosts that are all alike: the database is made once and copied."""
    first = tmp_path / "first"
    first.mkdir()
    with closing(Host(first, FakeEngine()).open()) as store:
        store.add(a_spec())

    def make(story: Story) -> Host:
        folder = tmp_path / "host"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(first, folder)
        return Host(folder, story.engine())

    return make


@pytest.mark.parametrize("story", STORIES.values(), ids=STORIES.keys())
def test_a_death_at_any_point_leaves_no_trace(story: Story, a_host: Callable[[Story], Host]) -> None:
    """Whatever was half done, the next life ends as if there had been one: rows, statuses and starts."""
    undisturbed, points = a_host(story), CrashPoints()
    undisturbed.live(story, points)
    expected = undisturbed.outcome()

    for number, point in enumerate(points.seen):
        host = a_host(story)
        with suppress(SimulatedCrash):
            host.live(story, CrashPoints(number))
        host.live(story, CrashPoints())

        assert (point, expected) == (point, host.outcome())
