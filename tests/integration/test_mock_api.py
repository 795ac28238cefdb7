"""The mock's queue and statuses over a socket: each row of the contract's tables."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests

from mock_api.client import API_KEY, TOKEN, MockControl, MockServer
from mock_api.records import Event

FLAGS = ("--scan-period", "0", "--timeout-failure", "300", "--idle-seconds", "60")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MockServer]:
    with MockServer(tmp_path_factory.mktemp("mock"), *FLAGS) as server:
        server.control.add_account("other", token="other-token")
        yield server


@pytest.fixture
def control(running: MockServer) -> MockControl:
    running.control.reset()
    return running.control


class Worker:
    """Calls the API as an account does."""

    def __init__(self, url: str, token: str | None = TOKEN) -> None:
        self.url = url
        self.session = requests.Session()
        self.session.trust_env = False
        if token is not None:
            self.session.headers["Authorization"] = f"Bearer {token}"

    def call(self, method: str, path: str, **options: Any) -> requests.Response:
        return self.session.request(method, self.url + path, timeout=30, **options)

    def pull(self, memory: int = 1000, **offer: Any) -> list[int]:
        answer = self.call("GET", "/jobs", params={"memory": memory, **offer})
        return [int(job_id) for job_id in answer.json()]

    def put(self, job_id: object, status: str, details: str | None = None) -> int:
        params = {"status": status, "runtime_details": details}
        return self.call("PUT", f"/jobs/{job_id}/status", params=params).status_code


@pytest.fixture
def worker(control: MockControl) -> Iterator[Worker]:
    worker = Worker(control.url)
    with worker.session:
        yield worker


@pytest.fixture
def other(control: MockControl) -> Iterator[Worker]:
    worker = Worker(control.url, "other-token")
    with worker.session:
        yield worker


def rules(control: MockControl) -> list[str]:
    return [violation.rule for violation in control.violations()]


def test_shows_jobs_with_half_a_character(control: MockControl) -> None:
    """What no real service would take can be looked at as well."""
    control.submit(image="x\ud800")

    assert ["x\ud800"] == [job.spec["handler"]["image_url"] for job in control.jobs()]


# Resources


@pytest.mark.parametrize(
    ("needs", "offer", "fits"),
    [
        pytest.param({}, {}, True, id="null fits all"),
        pytest.param({"memory": 1000}, {}, True, id="memory just enough"),
        pytest.param({"memory": 1001}, {}, False, id="memory too small"),
        pytest.param({"cpu_cores": 1}, {}, True, id="missing cores count as 1"),
        pytest.param({"cpu_cores": 2}, {}, False, id="1 core is not 2"),
        pytest.param({"cpu_cores": 2}, {"cpu_cores": 2}, True, id="cores"),
        pytest.param({"gpu_mem": 10}, {"gpu_memory": 10}, False, id="gpu_memory is ignored"),
        pytest.param({"gpu_mem": 10}, {"gpu_mem": 10}, True, id="gpu_mem"),
        pytest.param({"gpu_model": "A100"}, {"gpu_model": "A100"}, True, id="model"),
        pytest.param({"gpu_model": "A100"}, {"gpu_model": "a100"}, False, id="model in another case"),
        pytest.param({"gpu_model": "A100"}, {}, False, id="no model"),
        pytest.param({"gpu_archi": "ampere"}, {"gpu_archi": "ampere"}, True, id="architecture"),
        pytest.param({"gpu_archi": "ampere"}, {"gpu_archi": "Ampere"}, False, id="another architecture"),
    ],
)
def test_offers_what_fits(
    control: MockControl, worker: Worker, needs: dict[str, Any], offer: dict[str, Any], fits: bool
) -> None:
    """A job goes only to a worker that has what it needs."""
    job_id = control.submit(hardware=needs)

    assert ([job_id] if fits else []) == worker.pull(**offer)


@pytest.mark.parametrize("query", ["", "memory=1.5", "memory=1GB", "memory=1&gpu_mem=0.5"])
def test_wants_whole_numbers(worker: Worker, query: str) -> None:
    """``memory`` is required, and it and ``gpu_mem`` are whole MiB: anything else is a 422."""
    assert worker.call("GET", f"/jobs?{query}").status_code == 422


def test_leaves_young_jobs_for_any_environment(control: MockControl, worker: Worker) -> None:
    """``older_than`` keeps jobs for any environment back until they are that old, and no others."""
    anywhere, local = control.submit(), control.submit(environment="local")
    control.submit(environment="cloud")
    young = worker.pull(limit=9, older_than=100)
    control.advance(101)

    assert [local] == young
    assert [anywhere] == worker.pull(limit=9, older_than=100)


def test_orders_by_group_priority_and_age(control: MockControl, worker: Worker) -> None:
    """Own groups' jobs come first, then high priorities, then old jobs; others are not excluded."""
    old, young = control.submit(), control.submit()
    urgent, ours = control.submit(priority=9), control.submit(group="ours", priority=1)
    theirs = control.submit(group="theirs", priority=8)

    assert [ours, urgent, theirs, old, young] == worker.pull(limit=9, groups=["ours", "mine"])


def test_leases_as_many_as_asked(control: MockControl, worker: Worker) -> None:
    """One without ``limit``; ``limit=2`` leases two; an empty queue gives ``{}``."""
    ids = [control.submit() for _ in range(3)]

    assert [ids[:1], ids[1:], []] == [worker.pull(), worker.pull(limit=2), worker.pull()]
    assert [job.status for job in control.jobs()] == ["pulled"] * 3


def test_hands_out_the_specification(control: MockControl, worker: Worker) -> None:
    """What was submitted arrives as it is, unknown fields included."""
    job = {"app": {"cmd": None, "new": 1}, "handler": {}, "meta": {"job_id": 7}, "later": [None]}
    job_id = control.submit({"job": job})

    assert {str(job_id): job} == worker.call("GET", "/jobs?memory=1").json()


def test_takes_jobs_from_the_user_facing_api(control: MockControl, worker: Worker) -> None:
    """``POST /_jobs`` queues a job for who has the key."""
    meta = {"job_id": 7, "date_created": "2026-01-01T00:00:00", "extra": True}
    job = {"app": {}, "handler": {"image_url": "i"}, "meta": meta, "hardware": {}}
    body = {"job": job, "paths_upload": {"output": "o", "log": "l", "artifact": "a"}}
    codes = [
        worker.call("POST", "/_jobs", json=body, headers=headers).status_code
        for headers in ({}, {"x-api-key": "wrong"}, {"x-api-key": API_KEY})
    ]

    assert codes == [422, 401, 201]
    assert meta == next(iter(worker.call("GET", "/jobs?memory=1").json().values()))["meta"]


# Status, cancel, lease


def test_keeps_what_it_is_told(control: MockControl, worker: Worker) -> None:
    """Statuses are stored with 204 and read as a JSON string; details are appended."""
    job_id = control.submit()
    worker.pull()
    codes = [
        worker.put(job_id, "running", "one"),
        worker.put(job_id, "running"),
        worker.put(job_id, "error", "two"),
    ]
    job = control.job(job_id)

    assert codes == [204, 204, 204]
    assert worker.call("GET", f"/jobs/{job_id}/status").json() == "error"
    assert job is not None
    assert job.runtime_details == "one\ntwo"


def test_forgets_a_deleted_job_with_the_first_put(control: MockControl, worker: Worker) -> None:
    """Deleted: still 200 with the old status; the first PUT 404; then 500 for ever, and 404 for GET."""
    job_id = control.submit()
    worker.pull()
    worker.put(job_id, "running")
    control.delete_job(job_id)
    before = worker.call("GET", f"/jobs/{job_id}/status")
    puts = [worker.put(job_id, "running") for _ in range(3)]
    after = worker.call("GET", f"/jobs/{job_id}/status")

    assert (before.status_code, before.json()) == (200, "running")
    assert puts == [404, 500, 500]
    assert after.status_code == 404
    assert rules(control) == ["put_after_404"] * 2


def test_refuses_the_status_of_what_is_not_ours(control: MockControl, worker: Worker) -> None:
    """Never pulled or another account's: 404; unknown: 500; not a number or not a status: 422."""
    theirs, queued = control.submit(), control.submit()
    control.take(theirs)
    ids = (queued, theirs, 99, "seven")

    assert [worker.put(job_id, "running") for job_id in ids] == [404, 404, 500, 422]
    assert worker.put(theirs, "sleeping") == 422
    assert sorted((job.status for job in control.jobs()), reverse=True) == ["queued", "pulled"]


def test_refuses_uploads_of_what_is_not_ours(control: MockControl, worker: Worker) -> None:
    """An upload request for a deleted, foreign, queued or unknown job is a 500, never a 404."""
    deleted, theirs, queued = (control.submit() for _ in range(3))
    worker.pull()
    control.delete_job(deleted)
    control.take(theirs)
    ids = (deleted, theirs, queued, 99)
    codes = [worker.call("POST", f"/jobs/{i}/files/url?type=log&base_path=").status_code for i in ids]

    assert codes == [500] * 4


def test_returns_a_silent_job_to_the_queue(control: MockControl, worker: Worker) -> None:
    """Silence is noticed by the scan after the time-out; a PUT before another's pull makes it ours again."""
    job_id = control.submit()
    worker.pull()
    early = control.scan()
    control.advance(301)
    late = control.scan()
    queued = worker.call("GET", f"/jobs/{job_id}/status").json()

    assert ([], [job_id], "queued") == (early, late, queued)
    assert worker.put(job_id, "running") == 204
    assert worker.call("GET", f"/jobs/{job_id}/status").json() == "running"


def test_leaves_another_accounts_job_alone(control: MockControl, worker: Worker, other: Worker) -> None:
    """Re-queued and taken by another account: our PUT is a 404, and their status is untouched."""
    job_id = control.submit()
    worker.pull()
    control.advance(301)
    control.scan()
    taken = other.pull()
    other.put(job_id, "running")

    assert [job_id] == taken
    assert worker.put(job_id, "postprocessing") == 404
    assert worker.call("GET", f"/jobs/{job_id}/status").json() == "running"


def test_offers_a_retry_to_different_accounts(control: MockControl, worker: Worker, other: Worker) -> None:
    """An account that had the job is never offered it again: it waits for accounts that had not."""
    job_id = control.submit()
    worker.pull()
    again = []
    for _ in range(3):
        control.advance(301)
        control.scan()
        again += worker.pull()
        other.pull()
    kinds = [event.kind for event in control.timeline(job_id)]

    assert again == []
    assert kinds == ["queued", "pulled", "requeued", "pulled", "requeued"]
    assert worker.call("GET", f"/jobs/{job_id}/status").json() == "queued"


def has_ended(events: list[Event], times: int) -> bool:
    return times == sum(event.kind in ("requeued", "given_up") for event in events)


def test_gives_up_and_offers_again_where_told(tmp_path: Path) -> None:
    """Without RETRY_DIFFERENT the same account gets the job again; after two retries it is an error."""
    flags = ("--no-retry-different", "--scan-period", "0.05", "--timeout-failure", "60")
    with MockServer(tmp_path, *flags) as server:
        control, worker = server.control, Worker(server.url)
        job_id = control.submit()
        with worker.session:
            for lease in (1, 2, 3):
                worker.pull()
                control.advance(61)
                events = control.wait(job_id, partial(has_ended, times=lease))

    assert [e.kind for e in events[1:]] == ["pulled", "requeued", "pulled", "requeued", "pulled", "given_up"]


def test_has_no_sticky_ends(control: MockControl, worker: Worker) -> None:
    """Any status is accepted after a terminal one: the worker must not send it."""
    job_id = control.submit()
    worker.pull()

    assert [worker.put(job_id, status) for status in ("finished", "running")] == [204, 204]
    assert worker.call("GET", f"/jobs/{job_id}/status").json() == "running"
    assert rules(control) == ["put_after_terminal"]


def test_reuses_the_id_of_a_deleted_job(control: MockControl, worker: Worker) -> None:
    """The highest id is given again once its row is gone, as SQLite does it."""
    first, last = control.submit(), control.submit()
    worker.pull(limit=2)
    control.delete_job(last)
    kept = control.submit()
    control.delete_job(kept)
    worker.pull()
    worker.put(last, "running")
    again = control.submit()
    submissions = [event.submission for event in control.timeline(again) if event.kind == "queued"]

    assert [first, last, kept, again] == [1, 2, 3, 2]
    assert submissions == [2, 4]


# What no correct worker does

LEGAL = [
    ("preprocessing", None),
    ("running", None),
    ("running", None),
    ("postprocessing", None),
    ("finished", None),
]


@pytest.mark.parametrize(
    ("puts", "found"),
    [
        pytest.param(LEGAL, [], id="a whole life with a keep-alive"),
        pytest.param([("running", None), ("preprocessing", None)], ["status_went_back"], id="back"),
        pytest.param([("error", "x"), ("error", "x")], ["terminal_repeated"], id="an end twice"),
        pytest.param([("error", "x"), ("finished", None)], ["put_after_terminal"], id="another end"),
        pytest.param([("running", "x"), ("running", "x")], ["details_repeated"], id="details twice"),
        pytest.param([("running", "a\0b")], ["nul_in_details"], id="NUL"),
        pytest.param([("running", "x" * 9000)], ["url_too_long"], id="long URL"),
    ],
)
def test_notices_wrong_statuses(
    control: MockControl, worker: Worker, puts: list[tuple[str, str | None]], found: list[str]
) -> None:
    """A correct sequence has no violation, and each wrong one has its own."""
    job_id = control.submit()
    worker.pull()
    for status, details in puts:
        worker.put(job_id, status, details)

    assert found == rules(control)


def test_forgives_what_was_not_acknowledged(control: MockControl, worker: Worker) -> None:
    """A terminal status, its details and a 404 may come again if their answer got lost or was a 5xx."""
    job_id = control.submit()
    worker.pull()
    control.fault("status_after_work", "/status$", code=502)
    codes = [worker.put(job_id, "error", "why"), worker.put(job_id, "error", "why")]
    gone = control.submit()
    worker.pull()
    control.delete_job(gone)
    control.fault("status_after_work", "/status$", code=502)
    codes += [worker.put(gone, "running"), worker.put(gone, "running")]

    assert codes == [502, 204, 502, 500]
    assert rules(control) == []
    assert control.statuses(job_id) == ["error"]
    assert control.statuses(job_id, acknowledged=False) == ["error", "error"]


def test_keeps_a_log_of_requests(running: MockServer, control: MockControl, worker: Worker) -> None:
    """Each request stands in the log as it was sent before its answer arrives, without any token."""
    worker.call("GET", "/jobs?memory=5")
    worker.call("GET", "/files//a%20b/url")
    log = (running.data / "requests.jsonl").read_text()

    assert [(record.method, record.path, record.query, record.code) for record in control.requests()] == [
        ("GET", "/jobs", "memory=5", 200),
        ("GET", "/files//a%20b/url", "", 200),
    ]
    assert [record.account for record in control.requests()] == ["worker", "worker"]
    assert TOKEN not in log


def test_starts_again_on_its_port(tmp_path: Path) -> None:
    """SIGTERM ends it with code 0; after a restart it answers at the same address, without its jobs."""
    with MockServer(tmp_path) as server:
        server.control.submit()
        url, code = server.url, server.stop()
        jobs = server.restart().control.jobs()
        killed = server.kill()

    assert (0, [], url, -9) == (code, jobs, server.url, killed)


def test_says_why_it_cannot_start(running: MockServer, tmp_path: Path) -> None:
    """A port that is taken is one sentence and no traceback."""
    second = MockServer(tmp_path, "--port", running.url.rpartition(":")[2])
    with pytest.raises(RuntimeError, match="did not start"), second:
        pass
    said = (tmp_path / "mock.log").read_text()

    assert "Choose another --port" in said
    assert "Traceback" not in said
