"""A container that the engine does not let go keeps nothing else from being swept."""

from pathlib import Path

import pytest

from jobfetcher.runners.config import LABEL, Limits
from jobfetcher.runners.containers import ContainerRunner
from jobfetcher.runners.engine import Refused
from jobfetcher.runners.images import Images
from jobfetcher.sweeper import Sweeper
from jobfetcher.workspace import Folders
from persistence.store import SqlStore
from states.errors import Paused
from states.job import Trigger
from states.machine import fire
from tests.fake_tools import a_spec


class StuckEngine:
    """Has exited containers; the removal of those named in ``stuck`` is refused."""

    def __init__(self, names: list[str], stuck: str) -> None:
        self.names, self.stuck = names, stuck

    def listed(self, labels: dict[str, str]) -> list[dict[str, object]]:
        wanted = labels.get(f"{LABEL}run")
        return [
            {"Id": name, "Labels": {f"{LABEL}run": name}} for name in self.names if wanted in (None, name)
        ]

    def stop(self, container: str, grace_seconds: float) -> None:
        return

    def inspect(self, container: str) -> dict[str, object] | None:
        return {"State": {"Status": "exited"}} if container in self.names else None

    def remove(self, container: str) -> None:
        if container == self.stuck:
            raise Refused("driver failed to remove root filesystem: device or resource busy", 500)
        self.names.remove(container)


def runner(engine: StuckEngine) -> ContainerRunner:
    images = Images(engine)  # type: ignore[arg-type]  # half an Engine is enough
    return ContainerRunner(engine, "w", lambda folder: folder, images, Limits())  # type: ignore[arg-type]  # likewise


def test_a_refused_removal_is_tried_later() -> None:
    """The engine's reason is kept, and it is no bug of the worker."""
    with pytest.raises(Paused, match=r"cannot be removed: driver failed .* busy"):
        runner(StuckEngine(["a"], "a")).remove("a")


def test_the_others_are_swept(tmp_path: Path) -> None:
    """The containers after the stuck one go with their folders; the stuck one's folder stays with it."""
    folders = Folders(tmp_path)
    with SqlStore(f"sqlite:///{tmp_path}/jobs.db", "w") as store:
        jobs = [store.add(a_spec(job_id)) for job_id in ("1", "2")]
        for job in jobs:
            folders.prepare(job)
            store.commit(job, fire(job, Trigger.FAILED), Trigger.FAILED)
            while unsent := store.next_unsent(job.key):
                store.mark_sent(unsent)
        first, second = sorted(jobs, key=lambda job: job.run_name)
        engine = StuckEngine([first.run_name, second.run_name], stuck=first.run_name)

        Sweeper(store, runner(engine), folders).sweep()

        assert engine.names == [first.run_name]
        assert list(folders.jobs.iterdir()) == [folders.home(first)]
