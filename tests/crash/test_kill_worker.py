"""A real worker is killed with SIGKILL at every named point of a job's life, and started again.

Each time the job must come to the same end as without the kill: one start of its container, the same
bytes, every status once and in order, nothing left behind.
"""

import signal
from pathlib import Path

import pytest

from mock_api.client import MockServer
from tests.crash.scene import RUNNERS, Prepare
from tests.engine_view import running_of
from tests.worker_process import until

ROWS = {
    "fetch.committed": [3],
    "downloading.committed": [5],
    "download.part-written": [6],
    "download.before-rename": [6],
    "download.after-rename": [6],
    "download.recorded": [6],
    "docker.pull-started": [10],
    "share.promised": [13],
    "running.committed": [13],
    "docker.before-create": [13],
    "docker.after-create": [14],
    "docker.before-start": [16],
    "docker.after-start": [17],
    "docker.before-wait": [19],
    "docker.exit-seen": [24],
    "upload.before-post": [26],
    "upload.after-post": [26],
    "upload.recorded": [26],
    "upload.log-spooled": [25],
    "finished.before-commit": [29],
    "finished.committed": [29],
    "report.before-finished": [30],
    "report.after-finished": [31],
    "docker.before-remove": [32],
    "docker.after-remove": [32],
    "sweep.folder-removed": [33],
}
"""Which rows of docs/recovery.md a kill at a point stands for."""

EVERYWHERE = [
    "fetch.committed",
    "fetched.begun",
    "share.promised",
    "downloading.before-commit",
    "downloading.committed",
    "downloading.begun",
    "download.part-written",
    "download.before-rename",
    "download.after-rename",
    "download.recorded",
    "running.before-commit",
    "running.committed",
    "running.begun",
    "uploading.before-commit",
    "uploading.committed",
    "uploading.begun",
    "upload.before-post",
    "upload.after-post",
    "upload.recorded",
    "upload.log-spooled",
    "finished.before-commit",
    "finished.committed",
    "report.before-preprocessing",
    "report.after-preprocessing",
    "report.before-running",
    "report.after-running",
    "report.before-postprocessing",
    "report.after-postprocessing",
    "report.before-finished",
    "report.after-finished",
    "sweep.before-remove",
    "sweep.folder-removed",
]
IN_THE_RUNNER = [
    "before-create",
    "after-create",
    "before-start",
    "after-start",
    "before-wait",
    "exit-seen",
    "before-remove",
    "after-remove",
]
ONLY_DOCKER = ["docker.pull-started"]


def points(runner: str) -> list[str]:
    own = ONLY_DOCKER if runner == "docker" else []
    return EVERYWHERE + [f"{runner}.{name}" for name in IN_THE_RUNNER] + own


def marks(runner: str, point: str) -> list[pytest.MarkDecorator]:
    engine = [pytest.mark.docker] if runner == "docker" else []
    return [pytest.mark.row(*ROWS.get(point, [])), *engine]


EACH_RUNNER = [
    pytest.param(runner, marks=pytest.mark.docker if runner == "docker" else (), id=runner)
    for runner in RUNNERS
]
EACH_POINT = [
    pytest.param(runner, point, marks=marks(runner, point), id=f"{runner}-{point}")
    for runner in RUNNERS
    for point in points(runner)
]


@pytest.mark.parametrize("runner", EACH_RUNNER)
def test_every_point_is_on_the_way(prepared: Prepare, runner: str) -> None:
    """The list of points to be killed at is exactly what an undisturbed job passes."""
    with (stage := prepared(runner)).worker as worker:
        worker.start()
        stage.assert_perfect(stage.submit())
        expected = set(points(runner)) | {"fetch.answered"}

        until("all points passed", lambda: stage.failpoints_reached() >= expected)
        assert stage.failpoints_reached() == expected


@pytest.mark.parametrize(("runner", "point"), EACH_POINT)
def test_killed_anywhere_the_job_comes_to_the_same_end(prepared: Prepare, runner: str, point: str) -> None:
    """SIGKILL at this point changes nothing of what the user and the API see."""
    with (stage := prepared(runner)).worker as worker:
        job = stage.submit()
        worker.start(failpoints=f"{point}=kill")

        assert worker.killed_itself()

        worker.start()
        stage.assert_perfect(job)


@pytest.mark.row(62)
@pytest.mark.parametrize("runner", EACH_RUNNER)
def test_killed_again_and_again_while_recovering(prepared: Prepare, runner: str) -> None:
    """Deaths during recovery add up to nothing: recovering often equals recovering once."""
    chain = ["running.committed", "running.begun", f"{runner}.after-create", f"{runner}.before-start"]
    chain += [f"{runner}.after-start", f"{runner}.before-wait", f"{runner}.exit-seen", "uploading.begun"]
    chain += ["upload.after-post", "report.before-finished", "report.after-finished"]
    with (stage := prepared(runner)).worker as worker:
        job = stage.submit(command="sleep 1")
        for point in chain:
            worker.start(failpoints=f"{point}=kill")

            assert worker.killed_itself()

        worker.start()
        stage.assert_perfect(job)


@pytest.mark.row(20)
@pytest.mark.parametrize("runner", EACH_RUNNER)
def test_a_container_that_ends_while_no_worker_runs_is_collected(prepared: Prepare, runner: str) -> None:
    """The exit code of a job that ended meanwhile is its result; it is not run again."""
    with (stage := prepared(runner)).worker as worker:
        job = stage.submit(command="touch /files/output/began; sleep 1; touch /files/output/last; (exit 3)")
        worker.start()
        began = worker.base / "jobs"
        until("the container to work", lambda: list(began.glob("*/1/output/began")))
        worker.kill()
        until("the container to end", lambda: list(began.glob("*/1/output/last")))
        if runner == "docker":
            name = (worker.base / "worker-id").read_text().strip()
            until("the engine to see it", lambda: not running_of(name))

        worker.start()

        stage.assert_perfect(job, end="error")
        details = stage.mock.control.job(job)
        assert details is not None
        assert "exit code 3" in details.runtime_details


@pytest.mark.row(59)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
@pytest.mark.parametrize("runner", EACH_RUNNER)
def test_a_stop_leaves_the_container_and_the_next_start_goes_on(
    prepared: Prepare, runner: str, number: signal.Signals
) -> None:
    """A signal ends the worker within five seconds; the job is untouched and finished later."""
    with (stage := prepared(runner)).worker as worker:
        job = stage.submit(command="touch /files/output/began; sleep 2")
        worker.start()
        until("the container to work", lambda: list((worker.base / "jobs").glob("*/1/output/began")))
        worker.process.send_signal(number)

        assert worker.ended(seconds=6) == 0
        assert worker.state(str(job)) == "running"

        worker.start()
        stage.assert_perfect(job)


@pytest.mark.row(1, 2)
@pytest.mark.parametrize("runner", EACH_RUNNER)
def test_a_lost_lease_costs_one_timeout_and_nothing_else(
    tmp_path: Path, prepared: Prepare, runner: str
) -> None:
    """Killed between the API's answer and our commit, the job is unknown to us: the service's time-out
    brings it back, and nothing runs for it before."""
    with MockServer(tmp_path / "forgiving", "--no-retry-different") as mock:
        stage = prepared(runner)
        stage.mock = mock
        with stage.worker as worker:
            job = stage.submit()
            worker.start(failpoints="fetch.answered=kill", API_URL=mock.url)

            assert worker.killed_itself()
            assert mock.control.statuses(job) == []

            mock.control.advance(400)
            assert mock.control.scan() == [job]
            worker.start(API_URL=mock.url)
            stage.assert_perfect(job)
