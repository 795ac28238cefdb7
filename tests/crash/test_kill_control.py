"""A real worker is killed with SIGKILL while it does what an operator asked: it is done after all, once."""

from functools import partial

import pytest

from persistence.requests import DRAINING, Answer, Desk, Operator
from tests.crash.scene import RUNNERS, Prepare, Scene
from tests.worker_process import until

AFTERWARDS = "upload_after_terminal"
"""What 'retry-upload' of an ended job is: the service takes it."""
CANCELLING = [
    "control.seen",
    "error.before-commit",
    "error.committed",
    "control.before-answer",
    "control.answered",
]
AT_ONCE = ["control.seen", "control.before-answer", "control.answered"]
UPLOADING = [
    "control.seen",
    "upload.before-post",
    "upload.recorded",
    "control.before-answer",
    "control.answered",
]
PRUNING = ["control.seen", "sweep.folder-removed", "control.before-answer", "control.answered"]


@pytest.fixture
def prepared(prepared: Prepare) -> Prepare:
    """Commands of jobs that are cancelled may take a second to end."""
    return partial(prepared, STOP_GRACE="1")


class Asking:
    """An operator of the scene's worker."""

    def __init__(self, stage: Scene) -> None:
        self._file = stage.worker.base / "jobfetcher.db"
        self._worker = (stage.worker.base / "worker-id").read_text().strip()

    def ask(self, kind: str, job: int | None = None, **arguments: object) -> int:
        with Operator(self._file) as operator:
            return operator.ask(self._worker, kind, job, **arguments)

    def answer(self, number: int) -> Answer:
        """Wait for what came of it."""

        def look() -> Answer | None:
            with Operator(self._file) as operator:
                return operator.answer_to(number)

        return until("the answer", look)

    def draining(self) -> bool:
        with Desk(self._file, self._worker) as desk:
            return desk.flag(DRAINING)


def key_of(stage: Scene, job: int) -> int:
    with stage.worker.reader() as reader:
        return reader.job(str(job))[0].key


def in_the_middle(stage: Scene) -> int:
    """A job whose command runs, and goes on for long."""
    job = stage.submit(command="touch /files/output/began; sleep 300", files=0)
    stage.worker.wait_for_state(str(job), "running")
    until("the command to run", lambda: list(stage.worker.base.glob("jobs/*/1/output/began")))
    return job


def ended(stage: Scene) -> int:
    job = stage.submit(files=1)
    stage.ended(job)
    return job


@pytest.mark.row(70)
@pytest.mark.parametrize("point", CANCELLING)
@pytest.mark.parametrize(
    "runner", [pytest.param(name, marks=pytest.mark.docker if name == "docker" else ()) for name in RUNNERS]
)
def test_killed_while_cancelling(prepared: Prepare, runner: str, point: str) -> None:
    """The job ends in ``error`` with the operator's words, once; its container goes, nothing is uploaded."""
    with (stage := prepared(runner)).worker as worker:
        worker.start(failpoints=f"{point}=kill")
        job = in_the_middle(stage)
        asking = Asking(stage)
        number = asking.ask("cancel", key_of(stage, job), reason="Enough.")
        assert worker.killed_itself()

        worker.start()

        assert asking.answer(number).refused is False
        assert stage.ended(job) == "error"
        assert stage.told(job) == ["preprocessing", "running", "error"]
        details = stage.mock.control.job(job)
        assert details is not None
        assert details.runtime_details == "Cancelled by the operator of the machine: Enough."
        stage.assert_nothing_left()
        assert (stage.mock.control.uploads(job), stage.mock.control.violations()) == ([], [])


@pytest.mark.row(70)
def test_a_cancel_found_at_the_start_comes_before_the_job_is_resumed(prepared: Prepare) -> None:
    """Asked while no worker runs: the job's command, which ended meanwhile, has nothing uploaded."""
    with (stage := prepared()).worker as worker:
        worker.start(failpoints="uploading.committed=kill")
        job = stage.submit(files=1)
        assert worker.killed_itself()
        asking = Asking(stage)
        number = asking.ask("cancel", key_of(stage, job))

        worker.start()

        assert asking.answer(number).refused is False
        assert stage.ended(job) == "error"
        stage.assert_nothing_left()
        assert (stage.mock.control.uploads(job), stage.mock.control.violations()) == ([], [])


@pytest.mark.row(71)
@pytest.mark.parametrize("point", UPLOADING)
def test_killed_while_uploading_again(prepared: Prepare, point: str) -> None:
    """An ended job's results go up again after all, whole; the API is told no status."""
    with (stage := prepared(KEEP_JOBS="1")).worker as worker:
        worker.start()
        job = ended(stage)
        worker.kill()
        worker.start(failpoints=f"{point}=kill")
        asking = Asking(stage)
        number = asking.ask("retry-upload", key_of(stage, job), all=True)
        assert worker.killed_itself()

        worker.start()

        assert asking.answer(number).refused is False
        uploads = [event for event in stage.mock.control.timeline(job) if event.kind == "upload"]
        assert len(uploads) >= 5  # two outputs and the log, then two outputs
        assert stage.told(job) == ["preprocessing", "running", "postprocessing", "finished"]
        assert stage.output(job, next(iter(stage.inputs))) == next(iter(stage.inputs.values()))
        assert stage.mock.control.violations(AFTERWARDS) == []


@pytest.mark.row(71)
@pytest.mark.parametrize("point", AT_ONCE)
def test_killed_while_an_upload_begins_anew(prepared: Prepare, point: str) -> None:
    """What was acknowledged before the request goes up once more, and the job comes to its end."""
    with (stage := prepared()).worker as worker:
        fault = stage.mock.control.fault(
            "status",
            path_regex="/upload$",
            query_regex="type=log",
            code=503,
            headers={"Retry-After": "3600"},
            times=None,
        )
        worker.start(failpoints=f"{point}=kill")
        job = stage.submit()
        until("the log to be refused", lambda: stage.mock.control.fired(fault))
        asking = Asking(stage)
        number = asking.ask("retry-upload", key_of(stage, job), all=True)
        assert worker.killed_itself()
        stage.mock.control.clear_faults()

        worker.start()

        assert asking.answer(number).refused is False
        stage.assert_perfect(job)
        uploads = [event for event in stage.mock.control.timeline(job) if event.kind == "upload"]
        assert len(uploads) >= 2 * 3 + 1  # two copies and the marks of the start, then these and the log


@pytest.mark.row(71)
@pytest.mark.parametrize("point", PRUNING)
def test_killed_while_pruning(prepared: Prepare, point: str) -> None:
    """What was to go is gone after the next start, and the request is answered."""
    with (stage := prepared(KEEP_JOBS="1")).worker as worker:
        worker.start()
        ended(stage)
        ended(stage)
        worker.kill()
        worker.start(failpoints=f"{point}=kill")
        asking = Asking(stage)
        number = asking.ask("prune")
        assert worker.killed_itself()

        worker.start()

        assert asking.answer(number).refused is False
        stage.assert_nothing_left()


@pytest.mark.row(72)
@pytest.mark.parametrize("point", AT_ONCE)
def test_killed_while_draining(prepared: Prepare, point: str) -> None:
    """However early the death, no further job is fetched, and the live one comes to its end."""
    with (stage := prepared()).worker as worker:
        worker.start(failpoints=f"{point}=kill")
        job = stage.submit(command="touch /files/output/began; sleep 2", files=0)
        until("the command to run", lambda: list(worker.base.glob("jobs/*/1/output/began")))
        asking = Asking(stage)
        number = asking.ask("drain")
        assert worker.killed_itself()
        later = stage.submit(files=0)

        worker.start()

        assert asking.answer(number).refused is False
        stage.assert_perfect(job, files=0)
        if point == "control.answered":  # this start found the flag and not the request: it stays, idle
            assert (asking.draining(), worker.process.poll()) == (True, None)
        else:
            assert worker.ended() == 0
            worker.start()
        resumed = asking.ask("prune")
        assert asking.answer(resumed).refused is False
        assert stage.mock.control.statuses(later) == []

        asking.ask("resume")
        assert stage.ended(later) == "finished"


@pytest.mark.row(72)
@pytest.mark.parametrize("point", AT_ONCE)
def test_killed_while_resuming(prepared: Prepare, point: str) -> None:
    """The next start fetches again."""
    with (stage := prepared()).worker as worker:
        worker.start()
        until("the database", lambda: worker.state("0") is None and (worker.base / "jobfetcher.db").exists())
        asking = Asking(stage)
        asking.ask("drain")
        assert worker.ended() == 0
        worker.start(failpoints=f"{point}=kill")
        number = asking.ask("resume")
        assert worker.killed_itself()
        job = stage.submit(files=0)

        worker.start()

        assert asking.answer(number).refused is False
        stage.assert_perfect(job, files=0)
