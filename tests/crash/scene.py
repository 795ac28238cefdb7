"""A job for a worker that is to be killed, and everything that must hold when it has come to its end."""

import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mock_api.client import MockServer
from tests.engine_view import containers_of
from tests.service_view import told
from tests.worker_process import WorkerProcess, until

RUNNERS = ("process", "docker")
PATIENCE = 90
"""Seconds that a job may take to its end on a busy machine."""


@dataclass
class Scene:
    """One mock, one worker, and jobs whose inputs and outputs are known."""

    mock: MockServer
    worker: WorkerProcess
    runner: str
    image: str
    inputs: dict[str, bytes]

    def submit(self, command: str = "sleep 0.3", files: int = 2) -> int:
        """Queue a job that leaves a mark at each start, copies its inputs and runs ``command``."""
        names = list(self.inputs)[:files]
        for name in names:
            self.mock.control.put_file(f"/user/{name}", self.inputs[name])
        copy = "cp /files/data/* /files/output/;" if names else ""
        return self.mock.control.submit(
            image=self.image,
            cmd=[
                "echo start >> /files/output/starts;",
                copy,
                f"{command};",
                "code=$?;",
                "echo the end;",
                "exit $code",
            ],
            files_down={f"data/{name}": f"/user/{name}" for name in names},
            files_up={"output": "output"},
        )

    def ended(self, job_id: int) -> str:
        """Wait until the API has acknowledged the job's end, and return it."""
        self.mock.control.wait_status(job_id, "finished", "error", timeout_seconds=PATIENCE)
        return self.told(job_id)[-1]

    def told(self, job_id: int) -> list[str]:
        """The acknowledged statuses, keep-alives folded."""
        return told(self.mock, job_id)

    def output(self, job_id: int, name: str) -> bytes:
        return self.mock.control.uploaded(job_id, f"output/output/{name}")

    def assert_perfect(self, job_id: int, files: int = 2, end: str = "finished") -> None:
        """Every invariant of a job that ended as it should."""
        assert self.ended(job_id) == end
        assert self.told(job_id) == ["preprocessing", "running", "postprocessing", end]
        assert self.mock.control.violations() == []
        assert self.output(job_id, "starts") == b"start\n"
        uploads = {upload.name: upload.sha256 for upload in self.mock.control.uploads(job_id)}
        for name in list(self.inputs)[:files]:
            assert uploads[name] == hashlib.sha256(self.inputs[name]).hexdigest()
        assert b"the end" in self.mock.control.uploaded(job_id, "log/log/container.log")
        self.assert_nothing_left()

    def assert_nothing_left(self) -> None:
        """No container, process folder, job folder or partial file stays behind."""
        until("nothing left behind", lambda: not self.leftovers())

    def leftovers(self) -> list[str]:
        """What is still there of the worker's jobs."""
        left = [str(path) for name in ("jobs", "runs") for path in (self.worker.base / name).glob("*")]
        if self.runner == "docker":
            left += containers_of((self.worker.base / "worker-id").read_text().strip())
        return left

    def failpoints_reached(self) -> set[str]:
        """Names of the failpoints that any worker of this scene has passed."""
        log = self.worker.base.parent / "failpoints.log"
        return set(log.read_text().split()) if log.exists() else set()


Prepare = Callable[..., Scene]
"""``scene`` with everything but the runner and more variables given."""


def scene(tmp_path: Path, mock: MockServer, runner: str, image: str, **variables: str) -> Scene:
    """A scene with the worker not yet started."""
    noise = random.Random(5)
    inputs = {f"in {number}.bin": noise.randbytes(200_000 + number) for number in range(3)}
    worker = WorkerProcess(
        tmp_path / "worker",
        mock.url,
        RUNNER=runner,
        JOBFETCHER_FAILPOINT_LOG=str(tmp_path / "failpoints.log"),
        **variables,
    )
    return Scene(mock, worker, runner, image, inputs)
