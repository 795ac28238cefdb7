"""Faults around a whole worker: the API, the disk, the database, its threads. Jobs are plain processes."""

import contextlib
import resource
import signal
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mock_api.client import MockServer
from tests import lockless
from tests.crash.scene import Scene, scene
from tests.worker_process import until

MIB = 1024 * 1024


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MockServer]:
    with MockServer(tmp_path_factory.mktemp("api"), "--no-retry-different") as server:
        yield server


@pytest.fixture
def stage(tmp_path: Path, service: MockServer) -> Iterator[Scene]:
    """A worker over plain processes, not yet started, and an empty queue."""
    service.control.reset()
    made = scene(tmp_path, service, "process", "image:1")
    with made.worker:
        yield made


def logged(stage: Scene, event: str) -> bool:
    return stage.worker.log.exists() and event in stage.worker.log.read_text()


def began(stage: Scene) -> None:
    until("the command to run", lambda: list((stage.worker.base / "jobs").glob("*/1/output/began")))


WORKS = "touch /files/output/began; sleep 1.5"


@pytest.mark.row(39)
def test_an_end_during_an_outage_is_told_after_it_by_the_next_worker(stage: Scene) -> None:
    """The job ends and the worker dies while the API is away; the end waits on disk."""
    job = stage.submit(command=WORKS)
    stage.worker.start()
    began(stage)
    stage.mock.control.fault("status", method="PUT", times=None, code=503)
    stage.worker.wait_for_state(str(job), "finished")
    until("a vain try to tell", lambda: logged(stage, "status.not-reported"))
    stage.worker.kill()
    stage.mock.control.clear_faults()

    stage.worker.start()

    stage.assert_perfect(job)


@pytest.mark.row(37)
def test_a_lease_that_ran_out_and_nobody_took_is_ours_again(stage: Scene) -> None:
    """The API is away for longer than the lease and queues the job again; our next PUT takes it back."""
    job = stage.submit(command=WORKS)
    stage.worker.start()
    began(stage)
    outage = stage.mock.control.fault("status", method="PUT", times=None, code=503)
    until("the outage to be felt", lambda: stage.mock.control.fired(outage))
    stage.mock.control.advance(400)
    assert stage.mock.control.scan() == [job]
    stage.mock.control.clear_faults()

    stage.assert_perfect(job)


@pytest.mark.row(37)
def test_a_lease_that_another_took_is_dropped(stage: Scene) -> None:
    """The job was given away during the outage: 404, nothing is uploaded, their status is untouched."""
    job = stage.submit(command="touch /files/output/began; sleep 300")
    stage.worker.start()
    began(stage)
    outage = stage.mock.control.fault("status", method="PUT", times=None, code=503)
    until("the outage to be felt", lambda: stage.mock.control.fired(outage))
    stage.mock.control.advance(400)
    assert stage.mock.control.scan() == [job]
    stage.mock.control.take(job, "other")
    stage.mock.control.clear_faults()

    stage.worker.wait_for_state(str(job), "cancelled")
    stage.assert_nothing_left()
    view = stage.mock.control.job(job)
    assert view is not None
    assert (view.account, view.status) == ("other", "pulled")
    assert stage.mock.control.uploads(job) == []
    assert stage.mock.control.violations() == []


@pytest.mark.row(36)
def test_a_deleted_job_whose_404_was_lost_ends_all_the_same(stage: Scene) -> None:
    """The only 404 never arrives, and every PUT after it is a 500: the status is asked for."""
    job = stage.submit(command="touch /files/output/began; sleep 300")
    stage.worker.start()
    began(stage)
    lost = stage.mock.control.fault("lose_response", method="PUT", path_regex=f"/jobs/{job}/status")
    stage.mock.control.delete_job(job)

    stage.worker.wait_for_state(str(job), "cancelled")
    assert stage.mock.control.fired(lost) == 1
    stage.assert_nothing_left()


@pytest.mark.row(4)
def test_a_job_that_was_taken_from_us_and_comes_back_begins_anew(stage: Scene) -> None:
    """The same lease, delivered again after a 404, is a new delivery with a clean folder."""
    job = stage.submit(command=WORKS)
    stage.worker.start()
    began(stage)
    stage.mock.control.fault("status", method="PUT", code=404)
    stage.worker.wait_for_state(str(job), "cancelled")
    stage.assert_nothing_left()
    stage.mock.control.advance(400)
    assert stage.mock.control.scan() == [job]

    assert stage.ended(job) == "finished"
    assert stage.output(job, "starts") == b"start\n"
    with stage.worker.reader() as reader:
        assert [(row.delivery, row.state) for row in reader.job(str(job))] == [
            (2, "finished"),
            (1, "cancelled"),
        ]


@pytest.mark.row(1)
def test_an_answer_to_get_jobs_that_is_lost_costs_one_timeout(stage: Scene) -> None:
    """The job is leased to us and we do not know it: other jobs go on, and its time-out brings it back."""
    lost = stage.mock.control.fault("lose_response", method="GET", path_regex="^/jobs$")
    leaked = stage.submit()
    stage.worker.start()
    until("the loss", lambda: stage.mock.control.fired(lost))
    other = stage.submit()
    assert stage.ended(other) == "finished"
    assert stage.mock.control.statuses(leaked) == []
    stage.mock.control.advance(400)
    assert stage.mock.control.scan() == [leaked]

    stage.assert_perfect(leaked)


@pytest.mark.row(54)
def test_a_file_system_without_locks_is_refused(stage: Scene, tmp_path: Path) -> None:
    """Where a second worker could not be noticed, the first one does not start, and says why."""
    assert stage.worker.start(**lockless.environ(tmp_path)).ended() == 3
    assert logged(stage, "has no working locks (No locks available)")


@pytest.mark.row(27)
def test_a_token_that_ends_in_the_middle_of_an_upload_is_renewed(tmp_path: Path) -> None:
    """Half of the outputs are up when every token ends: the rest goes up with a new one."""
    variables = {"ACCESS_TOKEN": "", "USERNAME": "lab", "PASSWORD": "pass", "TRANSFER_CONNECTIONS": "1"}
    with MockServer(tmp_path / "api") as mock:
        mock.control.add_account("lab", password="pass")
        made = scene(tmp_path, mock, "process", "image:1", COGNITO_URL=f"{mock.url}/cognito", **variables)
        with made.worker:
            job = made.submit(command="for i in $(seq 300); do echo $i > /files/output/$i; done")
            made.worker.start()
            until("some uploads", lambda: len(mock.control.uploads(job)) >= 20)
            mock.control.expire_tokens()
            assert len(mock.control.uploads(job)) < 300

            made.assert_perfect(job)
            refused = [seen for seen in mock.control.requests() if seen.code == 401]
            assert refused
            assert len(mock.control.uploads(job)) == 300 + 2 + 1 + 1


@pytest.mark.row(60)
def test_a_dead_reporter_ends_the_worker(stage: Scene) -> None:
    """A worker that cannot report is no worker: it exits, and the next one goes on."""
    job = stage.submit()
    stage.worker.start(failpoints="report.before-running=raise")

    assert stage.worker.ended() == 1
    assert logged(stage, "supervisor.thread-died")

    stage.worker.start()
    stage.assert_perfect(job)


@pytest.mark.row(61)
def test_a_job_that_kills_the_worker_each_time_is_given_up(stage: Scene) -> None:
    """After five deaths in one state the job fails, and the next job runs."""
    bad = stage.submit()
    for _ in range(5):
        stage.worker.start(failpoints="uploading.begun=kill")

        assert stage.worker.killed_itself()

    good = stage.submit()
    stage.worker.start()
    assert stage.ended(bad) == "error"
    details = stage.mock.control.job(bad)
    assert details is not None
    assert "Gave up after 5 attempts in the state uploading" in details.runtime_details
    assert stage.ended(good) == "finished"
    stage.assert_nothing_left()


@pytest.mark.row(63)
def test_without_file_descriptors_nothing_is_lost(stage: Scene) -> None:
    """The worker may open no more files for a while; when it may again, the job comes to its end."""
    job = stage.submit(command=WORKS)
    stage.worker.start()
    began(stage)
    pid = stage.worker.process.pid
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (8, before[1]))
    until("the want to be felt", lambda: logged(stage, "Too many open files"))
    resource.prlimit(pid, resource.RLIMIT_NOFILE, before)

    assert stage.ended(job) == "finished"
    assert stage.worker.process.poll() is None
    assert stage.output(job, "starts") == b"start\n"
    assert stage.mock.control.violations() == []


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[None]:
    """A file system of ``size`` bytes at ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(file: Path) -> None:
    """Write until the disk is full."""
    with file.open("wb", buffering=0) as ballast, contextlib.suppress(OSError):
        while True:
            ballast.write(bytes(4096))


@pytest.mark.root
@pytest.mark.row(9)
def test_a_disk_too_small_for_a_job_fails_that_job_alone(stage: Scene) -> None:
    """The owner reads that there is no space; what was written is freed; the next job runs."""
    stage.inputs["in 0.bin"] = bytes(20 * MIB)
    with small_disk(stage.worker.base, 8 * MIB), stage.worker:
        big, small = stage.submit(files=1), stage.submit(files=0)
        stage.worker.start()

        assert stage.ended(big) == "error"
        details = stage.mock.control.job(big)
        assert details is not None
        assert "no space left" in details.runtime_details.lower()
        assert stage.ended(small) == "finished"
        stage.assert_nothing_left()


@pytest.mark.root
@pytest.mark.row(9, 51)
def test_a_full_disk_at_a_commit_is_waited_out(stage: Scene) -> None:
    """The database cannot grow while a job runs, on a disk too small for a reserve: no effect without its
    commit, and on it goes later."""
    with small_disk(stage.worker.base, 8 * MIB), stage.worker:
        job = stage.submit(command=WORKS, files=0)
        stage.worker.start()
        began(stage)
        ballast = stage.worker.base / "ballast"
        fill(ballast)
        until("the want to be felt", lambda: logged(stage, "job.paused") or logged(stage, "unavailable"))
        ballast.unlink()

        # The command's own words of that time found no room either: its log is not asked for.
        assert stage.ended(job) == "finished"
        assert ["preprocessing", "running", "postprocessing", "finished"] == stage.told(job)
        assert b"start\n" == stage.output(job, "starts")
        assert stage.mock.control.violations() == []
        stage.assert_nothing_left()


@pytest.mark.row(50)
def test_a_lock_of_another_program_is_waited_out(stage: Scene) -> None:
    """Somebody holds the database for longer than a single wait: every move still arrives, once."""
    job = stage.submit(command=WORKS)
    stage.worker.start()
    began(stage)
    other = sqlite3.connect(stage.worker.base / "jobfetcher.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    until("the want to be felt", lambda: logged(stage, "job.paused") or logged(stage, "unavailable"))
    other.execute("ROLLBACK")
    other.close()

    stage.assert_perfect(job)


@pytest.mark.row(59)
@pytest.mark.parametrize("state", ["downloading", "running", "uploading"])
def test_a_stop_in_any_state_loses_nothing(stage: Scene, state: str) -> None:
    """SIGTERM while a step is at work: exit code 0 within five seconds, and the next start goes on."""
    places = {
        "downloading": "download.part-written=delay:3",
        "running": "process.before-wait=delay:3",
        "uploading": "upload.before-post=delay:3",
    }
    job = stage.submit()
    stage.worker.start(failpoints=places[state])
    stage.worker.wait_for_state(str(job), state)
    stage.worker.process.send_signal(signal.SIGTERM)

    assert stage.worker.ended(seconds=6) == 0
    stage.worker.start()
    stage.assert_perfect(job)


@pytest.mark.row(38)
@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        pytest.param("hang", {"seconds": 40.0, "method": "PUT"}, id="hang"),
        pytest.param("slow", {"bytes_per_second": 20000, "path_regex": "/download$"}, id="trickle"),
        pytest.param("status", {"method": "PUT", "code": 502, "body": "<html>bad gateway</html>"}, id="502"),
        pytest.param("status", {"path_regex": "^/jobs$", "code": 200, "body": "{broken"}, id="broken JSON"),
    ],
)
def test_an_api_that_misbehaves_is_survived(stage: Scene, kind: str, settings: dict[str, object]) -> None:
    """Time-outs and backoff, no verdict on the job, and no end of the worker."""
    fault = stage.mock.control.fault(kind, **settings)  # type: ignore[arg-type]  # names of a fault's fields
    job = stage.submit()
    stage.worker.start()

    assert stage.ended(job) == "finished"
    assert stage.mock.control.fired(fault) >= 1
    assert stage.output(job, "starts") == b"start\n"


@pytest.mark.row(38)
@pytest.mark.parametrize(
    "url", ["http://no-such-host.invalid", "https://127.0.0.1:9"], ids=["no such name", "nothing listens"]
)
def test_an_address_without_an_api_is_asked_again_and_again(stage: Scene, url: str) -> None:
    """No name, no listener: the worker says so and waits; it does not end."""
    stage.worker.start(API_URL=url)

    until("a second try", lambda: logged(stage, "fetch.postponed"))
    assert stage.worker.process.poll() is None
    assert stage.worker.stop() == 0


@pytest.mark.row(56)
def test_two_workers_with_one_account_do_not_touch_each_others_jobs(stage: Scene, tmp_path: Path) -> None:
    """Each takes jobs of its own; a job that one does not know is never told about by it."""
    second = scene(tmp_path / "second", stage.mock, "process", "image:1")
    (tmp_path / "second").mkdir()
    jobs = [stage.submit(command="sleep 1") for _ in range(4)]
    with second.worker:
        threads = [threading.Thread(target=one.start) for one in (stage.worker, second.worker)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for job in jobs:
            assert stage.ended(job) == "finished"
            assert stage.output(job, "starts") == b"start\n"
        known = []
        for one in (stage.worker, second.worker):
            with one.reader() as reader:
                known.append({row.api_id for row in reader.jobs()})

    assert known[0] | known[1] == {str(job) for job in jobs}
    assert known[0] & known[1] == set()
    assert stage.mock.control.violations() == []
