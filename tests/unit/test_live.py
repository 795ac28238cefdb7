"""What a worker shows of itself, and the clerk that keeps it in a file."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobfetcher import board_file
from jobfetcher._version import __version__
from jobfetcher.api.errors import NotFound, ServerError
from jobfetcher.api.watched import WatchedApi
from jobfetcher.hardware import Hardware
from jobfetcher.live import Clerk, Health, LiveStatus
from jobfetcher.progress import Board
from persistence.errors import StoreUnavailable
from persistence.rows import LiveJob
from persistence.store import SqlStore
from states.job import ApiStatus, JobState, Trigger
from states.ports import FileRequest, Resources
from states.spec import FileType, JobSpec
from tests.store_life import brought_to, moved, spec
from tests.worker_process import until


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlStore]:
    """Job 1 is downloading, job 2 has failed and the API has heard nothing of either."""
    with SqlStore(f"sqlite:///{tmp_path / 'jobfetcher.db'}", "w") as store:
        store.begin(brought_to(store, store.add(spec(1)), JobState.DOWNLOADING))
        brought_to(store, store.add(spec(2)), JobState.ERROR)
        yield store


def live(store: SqlStore, board: Board | None = None) -> LiveStatus:
    return LiveStatus(
        worker="w",
        runner="process",
        api_url="http://api",
        hardware=Hardware(memory=4096, available=2048, cpu_cores=2),
        store=store,
        board=board or Board(),
        api=Health(),
        engine=Health(),
        offered=lambda: Resources(memory=4096),
        places=3,
        turns={"worker": lambda: 5.0},
        draining=lambda: True,
    )


def test_everything_there_is_to_see_is_there(store: SqlStore) -> None:
    """Live jobs with their meters, what is offered, how it goes with API and engine, and who still turns."""
    board = Board()
    status = live(store, board)
    status.api.note(ServerError("GET /jobs", 503))
    with board.meter(store.live()[0].key, "download") as meter:
        meter.add(9)
        shown = status.as_dict()

    [job] = shown["jobs"].values()
    assert ("1", "downloading", 1, [9]) == (
        job["id"], job["state"], job["attempt"], [reading["done"] for reading in job["meters"]],
    )  # fmt: skip
    assert shown["hardware"] == {"memory": 4096, "available": 2048, "cpu_cores": 2, "gpus": ()}
    assert (shown["api"]["url"], shown["api"]["ok"], "503" in shown["api"]["error"]) == (
        "http://api",
        False,
        True,
    )
    assert shown["engine"] == {"ok": None, "at": None, "error": ""}
    told = {name: shown[name] for name in ("worker", "version", "draining", "places", "threads", "runner")}
    assert told == {
        "worker": "w", "version": __version__, "draining": True, "places": 3, "threads": {"worker": 5.0},
        "runner": "process",
    }  # fmt: skip
    assert (shown["offered"]["memory"], shown["unsent"]) == (4096, store.count_unsent())


def test_unsent_statuses_are_counted_except_of_jobs_that_are_gone(store: SqlStore) -> None:
    """What nobody will hear any more is not waiting."""
    before = store.count_unsent()
    [gone] = store.live()
    store.mark_gone(gone.key)

    assert (before - len(store.outbox(gone.key))) == store.count_unsent()


def test_a_database_that_cannot_be_read_leaves_what_was_known(store: SqlStore) -> None:
    """The page and the file go on; nothing is raised at whoever looks."""

    class Locked(SqlStore):
        locked = False

        def live_now(self) -> list[LiveJob]:
            if self.locked:
                raise StoreUnavailable("It is locked.")
            return super().live_now()

    with Locked(f"sqlite:///{store.path}", "w") as locked:
        status = live(locked)
        before = status.as_dict()
        locked.locked = True
        after = status.as_dict()

    assert [job["id"] for job in before["jobs"].values()] == ["1"]
    assert (before["jobs"], before["unsent"]) == (after["jobs"], after["unsent"])


def test_the_clerk_writes_at_once_when_something_changes(tmp_path: Path, store: SqlStore) -> None:
    """A job that moves is seen without waiting for the heartbeat; afterwards no file is left."""
    with Clerk(tmp_path, live(store)) as clerk:
        until("the first file", lambda: board_file.read(tmp_path) is not None)
        moved(store, store.live()[0], Trigger.DOWNLOADED)
        clerk.wake()
        until("the new state", lambda: [j["state"] for j in _jobs(tmp_path)] == ["running"])

    assert not (tmp_path / board_file.NAME).exists()


def test_the_clerk_writes_on_while_something_is_under_way(tmp_path: Path, store: SqlStore) -> None:
    """Bytes that move are seen without any other event."""
    board = Board()
    with board.meter(store.live()[0].key, "upload") as meter, Clerk(tmp_path, live(store, board)):
        until("the first file", lambda: board_file.read(tmp_path) is not None)
        meter.add(77)
        until("the bytes", lambda: [j["meters"][0]["done"] for j in _jobs(tmp_path)] == [77])


def _jobs(folder: Path) -> list[dict]:  # type: ignore[type-arg]  # plain JSON
    return list((board_file.read(folder) or {"jobs": {}})["jobs"].values())


def test_a_folder_that_takes_no_file_stops_nobody(
    tmp_path: Path, store: SqlStore, caplog: pytest.LogCaptureFixture
) -> None:
    """A full disk is told once, not each second."""
    clerk = Clerk(tmp_path / "missing", live(store))
    clerk.write()
    clerk.write()

    assert ["status.not-written"] == [record.message for record in caplog.records]


def test_health_is_the_last_word_and_wakes_only_when_it_turns() -> None:
    """Every answer is noted with its time; whoever shows it is told of a change only."""
    turns: list[bool | None] = []
    health = Health(lambda: turns.append(health.ok))
    for error in (None, None, ValueError("away"), ValueError("still away"), None):
        health.note(error)
    with pytest.raises(KeyError), health.heard():
        raise KeyError("x")

    assert [True, False, True, False] == turns
    assert health.at is not None
    assert abs(time.time() - health.at) < 60


class Answering:
    """An API whose every call ends as planned."""

    def __init__(self, error: Exception | None) -> None:
        self._error = error

    def _answer(self) -> None:
        if self._error:
            raise self._error

    def fetch_jobs(self, resources: Resources, limit: int = 1) -> list[JobSpec]:
        self._answer()
        return []

    def put_status(self, job_id: str, status: ApiStatus, detail: str = "") -> None:
        self._answer()

    def job_status(self, job_id: str) -> str:
        self._answer()
        return "running"

    def download_request(self, file_id: str) -> FileRequest:
        self._answer()
        return FileRequest(method="get", url="u")

    def upload_request(self, job_id: str, kind: FileType, base_path: str) -> FileRequest:
        self._answer()
        return FileRequest(method="post", url="u")


@pytest.mark.parametrize(
    ("error", "well"),
    [(None, True), (NotFound("GET", 404), True), (ServerError("GET", 500), False)],
    ids=["answers", "404", "500"],
)
def test_the_api_is_well_if_it_answers_sensibly(error: Exception | None, well: bool) -> None:
    """A 404 for a job is an answer; a 500 is none. Results and errors pass unchanged."""
    heard: list[bool] = []
    api = WatchedApi(Answering(error), lambda failed: heard.append(failed is None))
    calls = (
        lambda: api.fetch_jobs(Resources(memory=1)),
        lambda: api.put_status("1", ApiStatus.RUNNING),
        lambda: api.job_status("1"),
        lambda: api.download_request("f"),
        lambda: api.upload_request("1", FileType.LOG, ""),
    )
    ended: list[Exception | None] = []
    for call in calls:
        try:
            call()
            ended.append(None)
        except (NotFound, ServerError) as raised:
            ended.append(raised)

    assert ([error] * 5, [well] * 5) == (ended, heard)
