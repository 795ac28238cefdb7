"""Requests of operators: each is answered once its effect is on disk, and none of them stops the worker."""

import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from jobfetcher import logs
from jobfetcher.control import Control, cancelled, told
from jobfetcher.errands import Errands
from jobfetcher.pruning import Pruned, Pruning
from jobfetcher.reupload import Reupload
from jobfetcher.sweeper import Sweeper
from jobfetcher.workspace import Folders
from persistence.errors import StoreUnavailable
from persistence.requests import DRAINING, NOTHING_ELSE, Answer, Desk, Effect, Operator
from persistence.store import SqlStore
from states.errors import JobFailed, JobGone, Paused
from states.job import Job, JobState, Trigger
from states.ports import Stop, StoredFile
from tests.fake_tools import Calls, FakeEngine, FakeRunner
from tests.store_life import brought_to, moved, sent, spec, whole
from tests.worker_process import until


@dataclass
class FakeWorker:
    """Remembers what it was told; ends cancelled jobs when it is let."""

    store: SqlStore
    sweeper: Sweeper
    obeys: bool = True
    has_threads: bool = True
    heard: list[object] = field(default_factory=list)

    def cancel(self, key: int, sentence: str) -> None:
        self.heard.append(("cancel", key, sentence))
        if self.obeys:
            moved(self.store, self.store.get(key), Trigger.FAILED, detail=sentence)

    def drain(self, leave: bool) -> None:
        self.heard.append(("drain", leave))

    def resume(self) -> None:
        self.heard.append("resume")

    def begin_step_anew(self, key: int, first: Callable[[], None] = lambda: None) -> bool:
        self.heard.append(("anew", key))
        if self.obeys:
            first()
        return self.has_threads


class FakeUploader:
    """Uploads one file, or raises what is planned."""

    def __init__(self) -> None:
        self.planned: list[Exception] = []
        self.calls: list[list[str]] = []

    def upload_again(self, job: Job, folder: Path, done: list[StoredFile], stop: Stop) -> None:
        self.calls.append([file.path for file in done])
        if self.planned:
            raise self.planned.pop(0)
        done.append(whole("out/new", "up", size=7))


@dataclass
class Scene:
    """Control over a real store and desk; worker and uploads are fakes."""

    store: SqlStore
    base: Path

    def __post_init__(self) -> None:
        self.folders = Folders(self.base)
        self.engine = FakeEngine()
        self.sweeper = Sweeper(self.store, FakeRunner(Calls(), self.engine), self.folders, keep=3600)
        self.worker = FakeWorker(self.store, self.sweeper)
        self.uploader = FakeUploader()
        self.desk = Desk(self.store.path, "w")
        self.operator = Operator(self.store.path)
        self.control = self.made()

    def made(self) -> Control:
        """As after a start."""
        worker: Any = self.worker
        pruning = Pruning(self.store, self.sweeper, self.folders)
        reupload = Reupload(self.store, self.sweeper, self.folders, self.uploader)
        return Control(self.desk, self.store, worker, pruning, reupload)

    def ask(self, kind: str, job: Job | None = None, **arguments: object) -> int:
        return self.operator.ask("w", kind, None if job is None else job.key, **arguments)

    def answered(self, kind: str, job: Job | None = None, **arguments: object) -> Answer:
        """Ask, and let the worker look until there is an answer."""
        number = self.ask(kind, job, **arguments)

        def look() -> Answer | None:
            self.control.turn()
            return self.operator.answer_to(number)

        return until(f"an answer to {kind}", look)

    def ended(self, state: JobState = JobState.FINISHED, number: int = 1) -> Job:
        """A job that has ended and is reported, with its folder."""
        job = brought_to(
            self.store, self.store.add(spec(number)), state, "No." if state is JobState.ERROR else ""
        )
        (self.folders.prepare(job) / "out" / "x").write_bytes(b"12345")
        sent(self.store)
        return job


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with SqlStore(f"sqlite:///{tmp_path}/jobs.db", "w") as store:
        made = Scene(store, tmp_path)
        yield made
        made.control.stop()
        made.desk.close()
        made.operator.close()


# ------------------------------------------------------------------ cancel


def test_a_cancel_is_answered_when_the_job_has_ended(scene: Scene) -> None:
    """Not before; and the worker is told again at each look, for it may have been started anew."""
    scene.worker.obeys = False
    job = scene.store.add(spec())
    number = scene.ask("cancel", job, reason="Enough.")

    assert (scene.control.turn(), scene.control.turn()) == (True, True)
    assert scene.operator.answer_to(number) is None
    scene.worker.obeys = True
    assert scene.control.turn() is False

    assert scene.operator.answer_to(number) == Answer("Job 1 is cancelled; the API is told that it failed.")
    assert scene.worker.heard == [("cancel", job.key, cancelled("Enough."))] * 3
    assert [update[1:] for update in sent(scene.store)][-1] == ("error", cancelled("Enough."))


def test_a_cancel_whose_answer_was_lost_is_recognised(scene: Scene) -> None:
    """The job ended with the operator's words and the worker died: the next one only answers."""
    job = scene.store.add(spec())
    number = scene.ask("cancel", job, reason="Enough.")
    moved(scene.store, job, Trigger.FAILED, detail=cancelled("Enough."))

    scene.made().begin()

    assert scene.operator.answer_to(number) == Answer("Job 1 is cancelled; the API is told that it failed.")
    assert scene.worker.heard == []


@pytest.mark.parametrize("state", [JobState.FINISHED, JobState.ERROR, JobState.CANCELLED])
def test_what_ended_by_itself_was_not_cancelled(scene: Scene, state: JobState) -> None:
    """The answer says how it ended."""
    job = scene.store.add(spec())
    scene.worker.obeys = False
    number = scene.ask("cancel", job)
    scene.control.turn()
    brought_to(scene.store, job, state)
    scene.control.turn()

    said = f"Job 1 has ended by itself before it could be cancelled: {state}."
    assert scene.operator.answer_to(number) == Answer(said, refused=True)


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("", "Cancelled by the operator of the machine."),
        ("  \n ", "Cancelled by the operator of the machine."),
        ("Two\nlines\0", "Cancelled by the operator of the machine: Two lines"),
        ("half \ud800", "Cancelled by the operator of the machine: half ?"),
    ],
)
def test_an_operators_words_fit_a_line(reason: str, expected: str) -> None:
    """Whatever he writes can be stored, compared and told."""
    assert cancelled(reason) == expected
    assert len(cancelled("x" * 5000)) < 600


# ------------------------------------------------------------------ drain, resume


def test_drain_and_resume_are_true_once_answered(scene: Scene) -> None:
    """The flag is on disk with the answer, and the worker is told after that."""
    scene.store.add(spec())
    said = scene.answered("drain")
    assert said.text == "No new jobs are fetched. The worker ends when its jobs have ended (1 is left)."
    assert (scene.desk.flag(DRAINING), scene.worker.heard) == (True, [("drain", True)])

    assert scene.answered("resume").text == "The worker fetches jobs again."
    assert (scene.desk.flag(DRAINING), scene.worker.heard) == (False, [("drain", True), "resume"])
    assert scene.answered("resume").text == "The worker fetches jobs."


def test_a_start_while_draining_is_no_new_drain(scene: Scene) -> None:
    """The flag alone keeps the worker from fetching, and does not send it away again."""
    scene.answered("drain")
    scene.worker.heard.clear()

    scene.made().begin()

    assert scene.worker.heard == [("drain", False)]


# ------------------------------------------------------------------ retry-upload


def test_an_upload_under_way_begins_anew(scene: Scene) -> None:
    """At once; with ``all`` its record is forgotten first."""
    job = brought_to(scene.store, scene.store.add(spec()), JobState.UPLOADING)
    scene.store.record_file(job, whole("out/x", "up"))

    assert scene.answered("retry-upload", job).text == "Job 1 goes on uploading at once."
    assert len(scene.store.files(job, "up")) == 1
    scene.answered("retry-upload", job, all=True)

    assert scene.store.files(job, "up") == []
    assert scene.worker.heard == [("anew", job.key)] * 2


@pytest.mark.parametrize("has_threads", [True, False])
def test_what_is_forgotten_is_forgotten_once(scene: Scene, has_threads: bool) -> None:
    """Only when nothing is under way for the job, and not again after the answer."""
    scene.worker.obeys, scene.worker.has_threads = False, has_threads
    job = brought_to(scene.store, scene.store.add(spec()), JobState.UPLOADING)
    scene.store.record_file(job, whole("out/x", "up"))
    number = scene.ask("retry-upload", job, all=True)
    [request] = scene.desk.waiting()

    assert scene.control.turn() is has_threads
    assert len(scene.store.files(job, "up")) == has_threads
    scene.worker.obeys = True
    scene.control.turn()
    scene.store.record_file(job, whole("out/x", "up"))
    scene.desk.answer(request, Answer("Late."), Effect(forgets_uploads_of=job.key))

    assert [file.path for file in scene.store.files(job, "up")] == ["out/x"]
    answer = scene.operator.answer_to(number)
    assert answer == Answer("Job 1 uploads everything again, from the beginning.")


@pytest.mark.parametrize(("everything", "left_out"), [(False, ["out/x"]), (True, [])])
def test_an_ended_job_is_uploaded_again(scene: Scene, everything: bool, left_out: list[str]) -> None:
    """What is on record is left out unless all is asked for; nothing is queued for the API."""
    job = scene.ended()
    scene.store.record_file(job, whole("out/x", "up"))

    said = scene.answered("retry-upload", job, all=everything)

    assert said == Answer(
        "Uploaded 1 file of job 1; the API is told no status.", False, {"files": 1, "bytes": 7}
    )
    assert scene.uploader.calls == [left_out]
    assert scene.store.unsent() == []


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (JobFailed("The output 'x' cannot be uploaded."), "The output 'x' cannot be uploaded."),
        (JobGone("404"), "The API does not know job 1 any more."),
        (RuntimeError("bug"), "The worker stumbled over it (RuntimeError: bug); its log says more."),
    ],
)
def test_an_upload_that_cannot_succeed_is_refused(scene: Scene, error: Exception, expected: str) -> None:
    """With the reason; it is not tried for ever."""
    scene.uploader.planned.append(error)

    assert scene.answered("retry-upload", scene.ended()) == Answer(expected, refused=True)


def test_an_upload_that_may_succeed_later_goes_on(scene: Scene) -> None:
    """While the API is away the request stays open, and the job's folder stays where it is."""
    scene.uploader.planned.append(Paused("The API is away."))
    job = scene.ended()
    number = scene.ask("retry-upload", job)
    assert scene.control.turn() is True
    until("the first try", lambda: scene.uploader.calls)
    assert (scene.operator.answer_to(number), scene.store.sweepable()) == (None, [])

    until("the second try", lambda: not scene.control.turn())

    assert len(scene.uploader.calls) == 2
    assert scene.store.sweepable() == [scene.store.get(job.key)]


def test_what_is_not_there_cannot_be_uploaded(scene: Scene) -> None:
    """Too early, too late, or not ours any more: each in a sentence."""
    early = scene.store.add(spec(2))
    late = scene.ended(number=3)
    scene.folders.discard(late)
    gone = scene.ended(JobState.CANCELLED, number=4)

    assert "nothing to upload yet: it is fetched" in scene.answered("retry-upload", early).text
    assert "set KEEP_JOBS" in scene.answered("retry-upload", late).text
    assert "has forgotten it" in scene.answered("retry-upload", gone).text
    assert scene.uploader.calls == []


# ------------------------------------------------------------------ whatever else is asked


def test_nonsense_is_refused_and_the_next_request_is_done(scene: Scene) -> None:
    """A kind of a later version, a job that is not there, a bug: none of them keeps the others waiting."""
    numbers = [scene.ask("dance"), scene.ask("cancel"), scene.ask("retry-upload"), scene.ask("resume")]
    scene.control.turn()
    answers = [scene.operator.answer_to(number) for number in numbers]

    assert answers == [
        Answer("This version of the worker knows no 'dance'.", refused=True),
        Answer("There is no such job.", refused=True),
        Answer("There is no such job.", refused=True),
        Answer("The worker fetches jobs."),
    ]


def test_a_bug_in_one_request_is_that_requests_end(scene: Scene) -> None:
    """It is refused with the error: met again at each start it would keep the worker from working."""

    def stumble(key: int, sentence: str) -> None:
        raise RuntimeError("bug")

    scene.worker.cancel = stumble  # type: ignore[method-assign]  # a worker with a bug
    said = scene.answered("cancel", scene.store.add(spec()))

    assert said == Answer("The worker stumbled over it (RuntimeError: bug); its log says more.", refused=True)


def test_a_locked_database_only_delays(scene: Scene) -> None:
    """The request stays open, and is done when the database can be written."""

    class Locked(Desk):
        locked = True

        def answer(self, request: Any, answer: Answer, effect: Effect = NOTHING_ELSE) -> None:
            if self.locked:
                raise StoreUnavailable("locked")
            super().answer(request, answer, effect)

    with Locked(scene.store.path, "w") as desk:
        scene.desk.close()
        scene.desk = desk
        control = scene.made()
        number = scene.ask("drain")
        with pytest.raises(StoreUnavailable):
            control.turn()
        assert (scene.operator.answer_to(number), scene.worker.heard) == (None, [])

        desk.locked = False
        control.turn()
        assert scene.worker.heard == [("drain", True)]


def test_an_errand_that_is_stopped_has_no_answer() -> None:
    """Its request stays open for the next start."""
    errands, tries = Errands(), []

    def work(stop: Any) -> Answer:
        tries.append(1)
        raise Paused("The API is away.")

    assert errands.answer(1, work) is None
    until("a try", lambda: tries)
    errands.stop()
    errands.join(60)

    assert errands._answers == {}


# ------------------------------------------------------------------ prune


def test_pruning_takes_what_is_kept_and_what_nobody_claims(scene: Scene) -> None:
    """Folders of ended jobs, folders of a lost database, runs without a job; a live job keeps all of it."""
    kept, live = scene.ended(), scene.store.add(spec(2))
    scene.folders.prepare(live)
    (scene.folders.jobs / "lost").mkdir()
    scene.engine.started |= {live.run_name: True, "jobfetcher-w-9-x-1": True}
    scene.sweeper.sweep()
    assert scene.folders.home(kept).exists()
    scene.engine.started["jobfetcher-w-9-x-1"] = True

    would = scene.answered("prune", dry_run=True)
    assert scene.folders.home(kept).exists()
    said = scene.answered("prune")

    assert (would.text, said.text) == (
        "Would remove 2 folders (5 B) and 1 container.",
        "Removed 2 folders (5 B) and 1 container.",
    )
    assert [place.name for place in scene.folders.jobs.iterdir()] == [live.slug]
    assert scene.engine.started == {live.run_name: True}


def test_history_forgets_what_ended_long_ago(tmp_path: Path) -> None:
    """Rows of ended, reported, swept jobs that are old enough, with all that hangs on them; of today's jobs
    never."""
    now = [0.0]
    with SqlStore(f"sqlite:///{tmp_path}/jobs.db", "w", clock=lambda: now[0]) as store:
        scene = Scene(store, tmp_path)
        old, _unswept = scene.ended(), scene.ended(number=2)
        store.mark_swept(old.key)
        scene.answered("retry-upload", old)
        now[0] = 3 * 86400.0
        young = scene.ended(number=4)
        now[0] = 0.0
        unheard = moved(store, store.add(spec(3)), Trigger.FAILED)
        now[0] = 3 * 86400.0
        for job in (unheard, young):
            store.mark_swept(job.key)
        live = store.add(spec(5))

        would = scene.answered("prune", dry_run=True, history=1.0)
        said = scene.answered("prune", history=2 * 86400.0)
        scene.desk.close()
        scene.operator.close()

        rows = {"files": 0, "outbox": 8, "moves": 10, "requests": 1, "jobs": 2}
        assert (would.found["rows"], said.found["rows"]) == (rows, rows)
        assert said.text == "Removed 3 folders (15 B), 0 containers and 21 rows of the database."
        assert {job.key for job in store.all_jobs()} == {unheard.key, young.key, live.key}


def test_what_stays_is_named() -> None:
    """Folders that nobody may remove, and an engine that is away."""
    pruned = Pruned(folders=1, bytes=2048, stays=["/base/jobs/7"], engine="No Docker engine answers.")

    assert told(pruned, dry_run=False) == (
        "Removed 1 folder (2.0 KiB) and 0 containers. Could not be removed: /base/jobs/7. "
        "Containers were not looked for. No Docker engine answers."
    )


# ------------------------------------------------------------------ the log


def test_what_a_job_does_is_logged_with_its_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """After a move, lines carry the new state and attempt until the job's block ends."""
    from jobfetcher.store import CrashableStore

    handler = logging.StreamHandler()
    handler.setFormatter(logs.Json())
    log = logging.getLogger("jobfetcher.test")
    log.addHandler(handler)
    with CrashableStore(f"sqlite:///{tmp_path}/jobs.db", "w") as store:
        with logs.about(job_id="1"):
            job = store.begin(store.begin(store.add(spec())))
            log.warning("begun")
            moved(store, job, Trigger.ACCEPTED)
            log.warning("moved")
        log.warning("outside")
    log.removeHandler(handler)
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]

    assert [
        (line["event"], line.get("job_id"), line.get("state"), line.get("attempt")) for line in lines
    ] == [
        ("begun", "1", "fetched", 2),
        ("moved", "1", "downloading", 0),
        ("outside", None, None, None),
    ]
