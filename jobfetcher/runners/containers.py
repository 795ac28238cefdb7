"""Runs jobs in containers: the rules by which a container is made once, started once, and believed.

The engine's own check of names is the lock. Nothing is concluded from the end of a stream of events or from a
time-out, and an exit counts only within one engine epoch (``vigil.py``).
"""

import logging
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

from jobfetcher.failpoints import failpoint
from jobfetcher.runners.config import LABEL, Limits, clearing, container, is_of, is_of_worker
from jobfetcher.runners.engine import Conflict, Engine, NotThere, Refused, StreamBroken, Unanswered, Watch
from jobfetcher.runners.exits import ever_started, is_alive, is_going, why_not_started
from jobfetcher.runners.images import Images
from jobfetcher.runners.multiplexed import payloads
from jobfetcher.runners.vigil import REMOVED, Vigil, noted_epoch
from jobfetcher.runners.watch import OneStream
from states.errors import JobFailed, Paused, RunLost
from states.job import Exit, Job, Run
from states.ports import Stop
from states.spec import JobSpec

log = logging.getLogger(__name__)

SETTLE_SECONDS = 10.0
"""How long an effect that the engine did not confirm is looked for."""
REMOVAL_SECONDS = 60.0
LOOK_SECONDS = 0.1
SURVIVAL_SECONDS = 30.0
"""How long a container must be seen alive after the engine's restart to have outlived it."""

ALREADY = "already exists"
"""How an engine refuses a start that an earlier life of it has made and not noted."""
ENDED = {"exited", "dead"}
"""What a list of containers calls those that run no more."""


class ContainerRunner:
    """Implements ``states.ports.Runner`` over an ``Engine``. ``host_path`` turns a folder as the worker
    sees it into the same folder as the engine sees it.

    One window stays open: if the worker dies while a start is under way in an engine that hangs, and
    the next worker looks before that start happens, a job of a few milliseconds may be started twice.
    """

    def __init__(
        self,
        engine: Engine,
        worker: str,
        host_path: Callable[[Path], Path],
        images: Images,
        limits: Limits,
        survival_seconds: float = SURVIVAL_SECONDS,
        watch: Watch | None = None,
    ) -> None:
        self._engine = engine
        self._watch = watch or OneStream(engine, {f"{LABEL}worker": worker})
        self.worker = worker
        self._host_path = host_path
        self._images = images
        self._limits = limits
        self._survival_seconds = survival_seconds
        self._doubtful: set[str] = set()
        """Ids of containers whose start was sent and never answered."""
        self._unstarted: set[str] = set()
        """Ids of containers that this object has just made: nobody can have started them."""
        self._begun: set[str] = set()
        """Ids of containers that this object has just started."""

    def prepare(self, spec: JobSpec, stop: Stop) -> str:
        return self._images.prepare(spec.handler.image_url, stop)

    def create(self, job: Job, folder: Path, stop: Stop) -> Run:
        """Safe twice: the name is taken or it is not."""
        stop.check()
        known = job.facts.run
        if known is not None:
            self._unstarted.discard(known.id)
            if self._engine.inspect(known.id) is None:
                raise RunLost("The container vanished while the worker did not look.")
            return known
        return self._create(job, folder, stop)

    def start(self, job: Job, run: Run, stop: Stop) -> Run:
        """Safe twice: only a container that never ran is started, and by its id."""
        stop.check()
        epoch = noted_epoch(self._watch)
        if run.id in self._unstarted:
            self._unstarted.discard(run.id)
        elif self._was_started(run, epoch):
            return run
        failpoint("docker.before-start")
        self._start(run)
        self._begun.add(run.id)
        failpoint("docker.after-start")
        return run.model_copy(update={"epoch": epoch})

    def _was_started(self, run: Run, epoch: str) -> bool:
        """Whether it has run or runs. Raises ``RunLost`` or ``JobFailed`` where it cannot be started.

        Made by an engine that has restarted since: an earlier worker may have told it to start the container,
        and both have died in the middle of it.
        """
        found = self._engine.inspect(run.id)
        if found is None or is_going(found):
            raise RunLost(REMOVED)
        if ever_started(found):
            return True
        refused = str(found["State"].get("Error") or "")
        if run.id in self._doubtful or ALREADY in refused or run.epoch != epoch:
            self._give_up_start(run)
        if refused:
            raise JobFailed(why_not_started(found))
        return False

    def wait(self, job: Job, run: Run, stop: Stop) -> Exit:
        failpoint("docker.before-wait")
        fresh = run.id in self._begun
        self._begun.discard(run.id)
        return Vigil(self._engine, self._watch, run, self._survival_seconds, fresh).end(stop)

    def logs(self, run: Run, stop: Stop) -> Iterator[bytes]:
        """HTTP says where the answer ends: an engine that is killed in the middle of it breaks it."""
        try:
            with self._engine.output(run.id) as output, stop.interrupts(output.shutdown):
                yield from payloads(output.chunks())
        except (NotThere, Conflict):  # removed, or being removed
            return
        except StreamBroken as broken:
            stop.check()
            raise Paused("The Docker engine broke off in the middle of a log.") from broken
        stop.check()

    def stop(self, name: str, grace_seconds: float) -> None:
        for found in self._ours(name):
            if found.get("State") not in ENDED:
                self._end(found["Id"], name, grace_seconds)

    def remove(self, name: str) -> None:
        for found in self._ours(name):
            failpoint("docker.before-remove")
            self._remove(found["Id"])
            failpoint("docker.after-remove")

    def clear(self, job: Job, folder: Path) -> None:
        """A container of the job's own image does it: what a container's root made, only root removes."""
        name = f"{job.run_name}-clear"
        if job.facts.image_id is None:
            return
        self.remove(name)
        try:
            made = self._engine.create(name, clearing(job, name, self._host_path(folder)))
            self._engine.start(made)
        except Refused as refusal:
            log.warning("container.cannot-clear", extra={"job_id": job.id, "reason": str(refusal)})
        else:
            self._until(lambda: not self._lives(made), REMOVAL_SECONDS, f"{name} does not end.")
        self.remove(name)

    def owned(self) -> list[str]:
        """By label, not by name: a container that somebody renamed is still found."""
        found = self._engine.listed({f"{LABEL}worker": self.worker})
        return sorted({one["Labels"][f"{LABEL}run"] for one in found if f"{LABEL}run" in one["Labels"]})

    def _ours(self, name: str) -> list[dict[str, Any]]:
        return self._engine.listed({f"{LABEL}worker": self.worker, f"{LABEL}run": name})

    def _existing(self, job: Job) -> Run | None:
        """The run's container if it is there. One of ours with other labels is stale, and removed."""
        found = self._engine.inspect(job.run_name)
        if found is None:
            return None
        if not is_of_worker(self.worker, found):
            raise JobFailed(
                f"A container named {job.run_name} exists that this worker did not make; remove or rename it."
            )
        if is_of(job, found) and not is_going(found):
            return Run(name=job.run_name, id=found["Id"], epoch=_epoch_at_creation(found))
        log.warning("container.stale", extra={"container": job.run_name})
        self._remove(found["Id"])
        return None

    def _create(self, job: Job, folder: Path, stop: Stop, again: bool = True) -> Run:
        """Asks without looking first: the engine refuses a name that is taken. ``again``: also once more
        after a stale container of that name."""
        epoch = noted_epoch(self._watch)
        failpoint("docker.before-create")
        try:
            made = self._create_with_image(job, folder, epoch, stop)
        except Unanswered as unknown:
            return self._settled(job, stop, unknown)
        except Refused as refusal:
            if (run := self._existing(job)) is not None:
                return run
            if isinstance(refusal, Conflict):
                return self._create(job, folder, stop, False) if again else self._settled(job, stop, refusal)
            if refusal.status >= 500:
                raise
            raise JobFailed(f"The container cannot be created: {refusal}") from refusal
        self._unstarted.add(made)
        failpoint("docker.after-create")
        return Run(name=job.run_name, id=made, epoch=epoch)

    def _create_with_image(self, job: Job, folder: Path, epoch: str, stop: Stop) -> str:
        """Create from the image the job was promised; if that is gone, pull once more and say so."""
        source = self._host_path(folder)
        image_id = job.facts.image_id or self.prepare(job.spec, stop)
        try:
            return self._engine.create(job.run_name, container(job, image_id, source, self._limits, epoch))
        except NotThere:
            if self._engine.image_id(image_id) is not None:
                raise
        fresh = self.prepare(job.spec, stop)
        log.warning("image.replaced", extra={"job_id": job.id, "was": image_id, "now": fresh})
        return self._engine.create(job.run_name, container(job, fresh, source, self._limits, epoch))

    def _settled(self, job: Job, stop: Stop, unknown: Exception) -> Run:
        """The creation may have happened, or still happen: look until it has."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while time.monotonic() < deadline:
            if (run := self._existing(job)) is not None:
                return run
            stop.wait(LOOK_SECONDS)
            stop.check()
        raise Paused(f"The Docker engine did not say whether it made {job.run_name}.") from unknown

    def _start(self, run: Run) -> None:
        try:
            self._engine.start(run.id)
        except NotThere as gone:
            if self._engine.inspect(run.id) is None:
                raise RunLost(REMOVED) from gone
            raise JobFailed(why_not_started(self._engine.inspect(run.id), str(gone))) from gone
        except Refused as refusal:
            found = self._engine.inspect(run.id)
            if found is not None and ever_started(found):
                return
            if ALREADY in str(refusal):
                self._give_up_start(run, refusal)
            raise JobFailed(why_not_started(found, str(refusal))) from refusal
        except Unanswered as unknown:
            self._settle_start(run, unknown)

    def _settle_start(self, run: Run, unknown: Unanswered) -> None:
        """If it still has not started, remove it: a start that comes late then hits a dead id."""
        self._doubtful.add(run.id)
        found = self._engine.inspect(run.id)
        if found is None or not ever_started(found):
            self._give_up_start(run, unknown)

    def _give_up_start(self, run: Run, because: Exception | None = None) -> NoReturn:
        """An engine that dies while it starts a container may have started it without having noted so:
        this run is not started again; the next one has another name and another folder."""
        self._remove(run.id)
        raise RunLost("The Docker engine did not say whether it started the container.") from because

    def _end(self, container_id: str, name: str, grace_seconds: float) -> None:
        try:
            self._engine.stop(container_id, math.ceil(grace_seconds))
        except (Unanswered, Refused) as unclear:
            log.info("container.stop-unclear", extra={"container": name, "reason": str(unclear)})
        if not self._lives(container_id):
            return
        try:
            self._engine.kill(container_id)
        except Refused as refusal:
            log.info("container.kill-refused", extra={"container": name, "reason": str(refusal)})
        self._until(lambda: not self._lives(container_id), SETTLE_SECONDS, f"{name} does not end.")

    def _lives(self, container_id: str) -> bool:
        found = self._engine.inspect(container_id)
        return found is not None and is_alive(found)

    def _remove(self, container_id: str) -> None:
        self._unstarted.discard(container_id)
        self._begun.discard(container_id)
        try:
            self._engine.remove(container_id)
            return
        except NotThere:
            return
        except (Conflict, Unanswered) as pending:
            log.info("container.removal-pending", extra={"container": container_id, "reason": str(pending)})
        except Refused as refusal:
            raise Paused(f"The container {container_id[:12]} cannot be removed: {refusal}") from refusal
        gone = f"The container {container_id[:12]} is not removed yet."
        self._until(lambda: self._engine.inspect(container_id) is None, REMOVAL_SECONDS, gone)

    def _until(self, true: Callable[[], bool], seconds: float, otherwise: str) -> None:
        deadline = time.monotonic() + seconds
        while not true():
            if time.monotonic() > deadline:
                raise Paused(otherwise)
            time.sleep(LOOK_SECONDS)


def _epoch_at_creation(found: dict[str, Any]) -> str:
    return str(found["Config"]["Labels"].get(f"{LABEL}epoch", ""))
