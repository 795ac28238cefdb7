"""Several jobs at once on one machine: a whole worker over an engine that gives pretended GPUs to containers.

The engine is the test's own, because it must find the GPU hook when it starts.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from jobfetcher.units import MIB
from mock_api.client import MockServer
from tests import nvml
from tests.docker.acts import wait_for
from tests.docker.private_engine import PrivateEngine
from tests.images import DEFAULT, busybox_image
from tests.service_view import GOOD, details, told
from tests.worker_process import WorkerProcess, until

pytestmark = [pytest.mark.docker, pytest.mark.root, pytest.mark.timeout(300)]

PLACES = 3
GPUS = (("GPU-1", "RTX A5000", 24000), ("GPU-2", "RTX A5000", 24000), ("GPU-3", "H100", 80000))
COMMAND = [
    "touch /files/output/up; while ! test -e /files/go; do sleep 0.05; done;",
    "echo $NVIDIA_VISIBLE_DEVICES > /files/output/gpu",
]
WANTED: list[dict[str, Any]] = [
    {"memory": 300, "gpu_model": "H100"},
    {},
    {},
    {"gpu_mem": 20000},
    {"memory": 200},
    {"gpu_archi": "9.0"},
]


class Machine:
    """A worker with three places, its jobs, and what the engine says of their containers."""

    def __init__(self, mock: MockServer, worker: WorkerProcess, client: docker.APIClient) -> None:
        self.mock = mock
        self.worker = worker
        self._client = client

    def submit(self, **hardware: Any) -> int:
        return self.mock.control.submit(
            image=DEFAULT, cmd=COMMAND, files_up={"output": "output"}, hardware=hardware
        )

    def running(self) -> dict[str, dict[str, Any]]:
        """The engine's account of the containers that run, by their names."""
        listed = self._client.containers()
        found = [self._client.inspect_container(one["Id"]) for one in listed]
        return {str(one["Name"]).lstrip("/"): one for one in found}

    def at_work(self, count: int) -> dict[str, dict[str, Any]]:
        """Wait until so many jobs do what they are to do."""

        def probe() -> dict[str, dict[str, Any]] | None:
            up = list(self.worker.base.glob("jobs/*/*/output/up"))
            waiting = [mark for mark in up if not (mark.parents[1] / "go").exists()]
            found = self.running()
            self.check(found)
            return found if len(waiting) == len(found) == count else None

        return until(f"{count} jobs at work", probe, 90)

    def check(self, running: dict[str, dict[str, Any]]) -> None:
        """Limits as the database has them, in sum not more than the machine; no GPU in two containers."""
        if not running:
            return
        with self.worker.reader() as reader:
            facts = {row.facts["run"]["name"]: row.facts for row in reader.jobs() if row.facts["run"]}
        for name, container in running.items():
            share = facts[name]["share"]
            assert _limits(container) == (
                round(share["cpu_cores"] * 10**9),
                share["memory"] * MIB,
                share["memory"] * MIB,
                tuple(facts[name]["gpus"]),
            )
        held = [gpu for container in running.values() for gpu in _limits(container)[3]]
        assert sorted(set(held)) == sorted(held)
        assert (
            sum(_limits(container)[0] for container in running.values())
            <= len(os.sched_getaffinity(0)) * 10**9
        )

    def kept_alive(self, jobs: list[int]) -> None:
        """Wait until the API has heard of each once more."""
        heard = {job: len(self.mock.control.statuses(job)) for job in jobs}
        until("keep-alives", lambda: all(len(self.mock.control.statuses(job)) > heard[job] for job in jobs))

    def go(self) -> None:
        """Let those that wait go on."""
        for mark in self.worker.base.glob("jobs/*/*/output/up"):
            (mark.parents[1] / "go").touch()

    def gpu_of(self, job: int) -> str:
        return self.mock.control.uploaded(job, "output/output/gpu").decode().strip()


def _ids(containers: dict[str, dict[str, Any]]) -> dict[str, str]:
    return {name: one["Id"] for name, one in containers.items()}


def _limits(container: dict[str, Any]) -> tuple[int, int, int, tuple[str, ...]]:
    host = container["HostConfig"]
    gpus = [gpu for request in host["DeviceRequests"] or () for gpu in request["DeviceIDs"]]
    return host["NanoCpus"], host["Memory"], host["MemorySwap"], tuple(gpus)


@pytest.fixture
def machine(tmp_path: Path, mock: MockServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    monkeypatch.setenv("PATH", f"{nvml.hook(tmp_path)}:{os.environ['PATH']}")
    seen = nvml.environ(nvml.build(tmp_path), tmp_path / "gpus", *GPUS)
    with PrivateEngine() as engine:
        busybox_image(DEFAULT, engine.base_url)
        client = docker.APIClient(base_url=engine.base_url, version="auto")
        with WorkerProcess(
            tmp_path / "worker", mock.url, DOCKER_HOST=engine.base_url, MAX_JOBS=str(PLACES), **seen
        ) as worker:
            yield Machine(mock, worker, client)
        client.close()


@pytest.mark.row(19)
def test_six_jobs_share_a_machine_whose_worker_dies(machine: Machine) -> None:
    """Three at a time, each within its share and with a GPU of its own. A worker that is killed while they
    run, and another one killed between an intent and its container, change nothing of that; all finish."""
    jobs = [machine.submit(**wanted) for wanted in WANTED[:4]]
    machine.worker.start()
    first = machine.at_work(PLACES)
    machine.worker.kill()

    machine.worker.start(failpoints="docker.before-create=kill")
    machine.kept_alive(jobs[:3])
    assert _ids(first) == _ids(machine.at_work(PLACES))
    assert told(machine.mock, jobs[3]) == []
    machine.go()
    assert machine.worker.killed_itself()

    # Only now: an answer that the dying worker never read would have leased them to nobody.
    jobs += [machine.submit(**wanted) for wanted in WANTED[4:]]
    machine.worker.start()
    machine.at_work(PLACES)
    machine.go()
    for job in jobs:
        wait_for(machine.mock, job, "finished")

    assert [told(machine.mock, job) for job in jobs] == [GOOD] * len(jobs)
    assert machine.mock.control.violations() == []
    gpus = [machine.gpu_of(job) for job in jobs]
    assert gpus[0] == "GPU-3"
    assert sorted(gpus[:3]) == sorted(gpus[3:]) == ["GPU-1", "GPU-2", "GPU-3"]
    until("nothing left behind", lambda: not (machine.running() or [*machine.worker.base.glob("jobs/*")]))


def test_alone_a_job_has_no_limits_and_all_gpus(machine: Machine) -> None:
    """With MAX_JOBS=1 a container is made as it always was."""
    job = machine.submit(memory=200, cpu_cores=1)
    machine.worker.start(MAX_JOBS="1")
    [container] = until("a container that runs", machine.running).values()
    until("its command", lambda: [*machine.worker.base.glob("jobs/*/*/output/up")])
    machine.go()
    wait_for(machine.mock, job, "finished")

    assert _limits(container) == (0, 0, 0, ("GPU-3", "GPU-1", "GPU-2"))
    assert machine.gpu_of(job) == "GPU-3,GPU-1,GPU-2"


def test_a_job_that_takes_more_memory_than_its_share_is_told_how_much_it_had(machine: Machine) -> None:
    """Its neighbours do not pay for it."""
    job = machine.mock.control.submit(
        image=DEFAULT, cmd=["exec tail /dev/zero"], files_up={}, hardware={"memory": 64}
    )
    other = machine.submit()
    machine.worker.start()
    wait_for(machine.mock, job, "error")
    machine.at_work(1)
    machine.go()
    wait_for(machine.mock, other, "finished")

    assert details(machine.mock, job).startswith("killed: out of memory (limit 64 MiB)")
    assert machine.mock.control.violations() == []
