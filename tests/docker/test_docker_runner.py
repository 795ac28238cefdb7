"""What only a real engine can show: what it is told, what it refuses, and what it does to others."""

import re
import subprocess
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import docker
import pytest

from jobfetcher.runners.docker import DockerRunner
from jobfetcher.stop import StopSignal
from states.errors import JobFailed, JobGone, Paused
from states.job import Job
from states.spec import JobSpec
from tests.images import DEFAULT, busybox_image, remove_image
from tests.loopback import SilentServer
from tests.stops import set_after

pytestmark = pytest.mark.docker
MIB = 1024**2


@pytest.fixture(scope="module")
def api() -> Iterator[docker.APIClient]:
    client = docker.APIClient(version="auto")
    busybox_image()
    yield client
    client.close()


@pytest.fixture
def runner() -> Iterator[DockerRunner]:
    worker = f"t{uuid.uuid4().hex[:8]}"
    runner = DockerRunner(worker, network="none", pull="missing", pull_backoff=(), memory=32 * MIB)
    yield runner
    for name in runner.owned():
        runner.remove(name)
    runner.close()


@pytest.fixture
def stop() -> StopSignal:
    return StopSignal()


def make_job(runner: DockerRunner, *cmd: str, image: str = DEFAULT, image_id: str | None = DEFAULT) -> Job:
    raw = {
        "app": {"cmd": list(cmd) or None, "env": {"A": "b"}},
        "handler": {"image_url": image},
        "meta": {"job_id": 1, "date_created": "2024-01-01"},
        "hardware": {},
    }
    job = Job(key=1, worker=runner.worker, spec=JobSpec.parse("1", raw))
    return job.with_facts(image_id=image_id)


def inspected(api: docker.APIClient, container: str) -> dict[str, Any]:
    found: dict[str, Any] = api.inspect_container(container)
    return found


def test_the_container_is_what_the_contract_says(
    runner: DockerRunner, api: docker.APIClient, tmp_path: Path, stop: StopSignal
) -> None:
    """Labels, command, mount and limits are as they must be; the image is pinned by its id."""
    job = make_job(runner, "true", image_id=busybox_image())

    found = inspected(api, runner.create(job, tmp_path, stop).id)

    labels = found["Config"]["Labels"]
    host = found["HostConfig"]
    assert job.worker == labels["org.decode.jobfetcher.worker"]
    assert job.slug == labels["org.decode.jobfetcher.job"]
    assert job.run_name == labels["org.decode.jobfetcher.run"]
    assert job.spec.lease == labels["org.decode.jobfetcher.lease"]
    assert found["Config"]["Cmd"] == ["/bin/sh", "-c", "true"]
    assert found["Config"]["Entrypoint"] is None
    assert found["Image"] == busybox_image()
    assert host["Init"] is True
    assert host["IpcMode"] == "private"
    assert host["SecurityOpt"] == ["no-new-privileges"]
    assert host["NetworkMode"] == "none"
    assert host["RestartPolicy"]["Name"] in ("", "no")
    assert host["Mounts"] == [{"Type": "bind", "Source": str(tmp_path), "Target": "/files"}]


def test_without_a_command_the_image_runs_its_own(
    runner: DockerRunner, tmp_path: Path, stop: StopSignal
) -> None:
    """``cmd: null`` means the image's command."""
    job = make_job(runner)
    run = runner.start(job, runner.create(job, tmp_path, stop), stop)
    runner.wait(job, run, stop)

    assert b"".join(runner.logs(run, stop)) == b"the image itself\n"


def test_eight_concurrent_creates_make_one(runner: DockerRunner, tmp_path: Path, stop: StopSignal) -> None:
    """The name is a lock: seven of eight find what the eighth made."""
    job = make_job(runner, "true")
    barrier = threading.Barrier(8)

    def create(_: int) -> str:
        barrier.wait()
        return runner.create(job, tmp_path, stop).id

    with ThreadPoolExecutor(8) as pool:
        ids = set(pool.map(create, range(8)))

    assert len(ids) == 1
    assert runner.owned() == [job.run_name]


def test_a_stale_container_of_ours_is_made_anew(
    runner: DockerRunner, api: docker.APIClient, tmp_path: Path, stop: StopSignal
) -> None:
    """One of our own that was made from another specification is replaced."""
    job = make_job(runner, "true")
    stale = runner.create(job, tmp_path, stop)
    changed = make_job(runner, "false")

    fresh = runner.create(changed, tmp_path, stop)

    assert stale.id != fresh.id
    assert inspected(api, fresh.id)["Config"]["Cmd"] == ["/bin/sh", "-c", "false"]


@pytest.mark.row(23)
def test_a_foreign_container_is_left_alone(
    runner: DockerRunner, api: docker.APIClient, tmp_path: Path, stop: StopSignal
) -> None:
    """A container under our name that is not ours fails the job, and is neither stopped nor removed."""
    job = make_job(runner, "true")
    foreign = api.create_container(DEFAULT, ["sleep", "1000"], name=job.run_name)["Id"]
    api.start(foreign)
    try:
        with pytest.raises(JobFailed, match=job.run_name):
            runner.create(job, tmp_path, stop)
        runner.stop(job.run_name, 0)
        runner.remove(job.run_name)

        assert inspected(api, foreign)["State"]["Running"] is True
    finally:
        api.remove_container(foreign, force=True)


@pytest.mark.row(23)
def test_a_renamed_container_is_still_ours(
    runner: DockerRunner, api: docker.APIClient, tmp_path: Path, stop: StopSignal
) -> None:
    """An operator's rename neither loses the run nor hides it from removal."""
    job = make_job(runner, "exit 6")
    run = runner.create(job, tmp_path, stop)
    api.rename(run.id, f"{job.worker}-renamed")
    job = job.with_facts(run=run)

    started = runner.start(job, runner.create(job, tmp_path, stop), stop)

    assert runner.wait(job, started, stop).code == 6
    assert runner.owned() == [job.run_name]
    runner.remove(job.run_name)
    assert runner.owned() == []


def test_killed_by_an_operator_is_an_ordinary_exit(
    runner: DockerRunner, api: docker.APIClient, tmp_path: Path, stop: StopSignal
) -> None:
    """137 alone is no lack of memory."""
    job = make_job(runner, "sleep 1000")
    run = runner.start(job, runner.create(job, tmp_path, stop), stop)
    api.kill(run.id)

    ended = runner.wait(job, run, stop)

    assert (ended.code, ended.reason) == (137, "")


def test_a_paused_container_is_waited_for(
    runner: DockerRunner, api: docker.APIClient, tmp_path: Path, stop: StopSignal
) -> None:
    """Paused by an operator is not ended."""
    job = make_job(runner, "sleep 0.3; exit 2")
    run = runner.start(job, runner.create(job, tmp_path, stop), stop)
    api.pause(run.id)
    with set_after(0.5) as soon, pytest.raises(Paused):
        runner.wait(job, run, soon)
    api.unpause(run.id)

    assert runner.wait(job, run, stop).code == 2


@pytest.mark.row(20)
def test_out_of_memory_is_named(runner: DockerRunner, tmp_path: Path, stop: StopSignal) -> None:
    """The owner is told that memory ran out, with the limit."""
    job = make_job(runner, "tail /dev/zero")
    run = runner.start(job, runner.create(job, tmp_path, stop), stop)

    ended = runner.wait(job, run, stop)

    assert not ended.ok
    assert ended.reason == "killed: out of memory (limit 32 MiB)"
    assert runner.engine.out_of_memory(run.id)


def test_a_killed_container_did_not_run_out_of_memory(
    runner: DockerRunner, tmp_path: Path, stop: StopSignal
) -> None:
    """Exit code 137 alone says nothing of memory."""
    job = make_job(runner, "kill -9 $$")
    run = runner.start(job, runner.create(job, tmp_path, stop), stop)

    ended = runner.wait(job, run, stop)

    assert (137, "") == (ended.code, ended.reason)


def test_a_missing_folder_fails(runner: DockerRunner, tmp_path: Path, stop: StopSignal) -> None:
    """The engine makes no folder that is missing."""
    with pytest.raises(JobFailed, match="cannot be created"):
        runner.create(make_job(runner, "true"), tmp_path / "none", stop)
    assert not (tmp_path / "none").exists()


def test_gpus_without_their_toolkit_fail(runner: DockerRunner, tmp_path: Path, stop: StopSignal) -> None:
    """A job is told that the engine cannot give what it was promised, and again when asked again."""
    job = make_job(runner, "true").with_facts(gpus=("GPU-00000000-0000-0000-0000-000000000000",))
    run = runner.create(job, tmp_path, stop)

    for _ in range(2):
        with pytest.raises(JobFailed):
            runner.start(job, run, stop)


def test_no_shell_is_an_exit(
    runner: DockerRunner, api: docker.APIClient, tmp_path: Path, stop: StopSignal
) -> None:
    """An image without a shell ends with 127 and says in its log why."""
    name = f"jobfetcher-test/empty:{runner.worker}"
    repository, _, tag = name.partition(":")
    empty = subprocess.run(["tar", "c", "-T", "/dev/null"], check=True, capture_output=True).stdout
    api.import_image_from_data(empty, repository=repository, tag=tag)
    try:
        job = make_job(runner, "true", image=name, image_id=name)
        run = runner.create(job, tmp_path, stop)
        ended = runner.wait(job, runner.start(job, run, stop), stop)
        log = b"".join(runner.logs(run, stop))
        runner.remove(run.name)
        assert ended.code == 127
        assert b"/bin/sh" in log
    finally:
        remove_image(name)


def test_an_image_that_is_gone_is_prepared_again(
    runner: DockerRunner, api: docker.APIClient, tmp_path: Path, stop: StopSignal
) -> None:
    """An image removed between pull and create is pulled once more."""
    job = make_job(runner, "true", image_id=f"sha256:{'0' * 64}")

    run = runner.create(job, tmp_path, stop)

    assert inspected(api, run.id)["Image"] == busybox_image()


def test_a_failed_pull_with_a_local_image_is_a_warning(
    runner: DockerRunner, stop: StopSignal, caplog: pytest.LogCaptureFixture
) -> None:
    """A registry that is away does not stop a job whose image is here."""
    name = f"127.0.0.1:9/{runner.worker}:1"
    image_id = busybox_image(name)
    always = DockerRunner(runner.worker, pull="always", pull_backoff=())
    try:
        assert image_id == always.prepare(make_job(runner, image=name).spec, stop)
    finally:
        remove_image(name)
    assert [record.getMessage() for record in caplog.records] == ["pull.failed"]


@pytest.mark.parametrize(
    "name",
    [
        *("", "two words", "UPPER/Case", "127.0.0.1:9/none:1", "127.0.0.1:9/none"),
        pytest.param("a" * 255, id="too long with the registry that the engine puts before it"),
        pytest.param("a@md5:" + "0" * 32, id="a digest that no engine knows"),
    ],
)
def test_an_image_that_is_nowhere_fails(runner: DockerRunner, stop: StopSignal, name: str) -> None:
    """The owner hears which image it was, and the reason; nonsense is no trouble of the engine."""
    with pytest.raises(JobFailed, match=re.escape(repr(name))):
        runner.prepare(make_job(runner, image=name).spec, stop)


def test_a_silent_registry_does_not_hold_a_stop(runner: DockerRunner) -> None:
    """A job that is gone stops pulling although nothing has been answered yet."""
    with SilentServer() as server, set_after(0.3, "gone") as stop, pytest.raises(JobGone):
        runner.prepare(make_job(runner, image=f"127.0.0.1:{server.port}/none:1").spec, stop)


def test_an_engine_that_is_away_pauses(tmp_path: Path, stop: StopSignal) -> None:
    """No call fails a job because the engine is away; the message says what to do."""
    away = DockerRunner("t", base_url=f"unix://{tmp_path}/none.sock")
    job = make_job(away, "true")

    with pytest.raises(Paused, match=r"No Docker engine answers at .*: start it"):
        away.ping()
    with pytest.raises(Paused):
        away.prepare(job.spec, stop)
    with pytest.raises(Paused):
        away.create(job, tmp_path, stop)
    with pytest.raises(Paused):
        away.remove(job.run_name)
    with pytest.raises(Paused):
        away.owned()


def test_no_connection_is_left_open(runner: DockerRunner, tmp_path: Path, stop: StopSignal) -> None:
    """A whole job, twice, leaves no more open files than once."""

    def whole(number: int) -> int:
        job = make_job(runner, f"true {number}")
        run = runner.start(job, runner.create(job, tmp_path, stop), stop)
        runner.wait(job, run, stop)
        list(runner.logs(run, stop))
        runner.remove(run.name)
        return len(list(Path("/proc/self/fd").iterdir()))

    first = whole(1)

    assert whole(2) <= first
    assert whole(3) <= first
