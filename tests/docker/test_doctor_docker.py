"""``doctor`` and ``logs`` against a real engine: what only a container can tell."""

import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from jobfetcher.doctor.check import Status
from jobfetcher.doctor.engine import (
    DOCTOR,
    Place,
    check_container_gpus,
    check_engine,
    check_files,
    check_pull,
    remove_leftovers,
)
from jobfetcher.runners.docker import DockerEngine
from mock_api.client import MockServer
from tests.docker.registry import Registry
from tests.engine_view import containers_of
from tests.images import remove_image
from tests.worker_process import WorkerProcess, until

pytestmark = pytest.mark.docker
BARE = "jobfetcher-test/no-shell:latest"


@pytest.fixture
def engine() -> Iterator[DockerEngine]:
    """The engine, which is left without a container of ours."""
    engine = DockerEngine()
    yield engine
    assert engine.listed({DOCTOR: "true"}) == []
    engine.close()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """A worker's folder, which is left empty."""
    folder = tmp_path / "base"
    folder.mkdir()
    yield Place(folder, lambda path: path)
    assert list(folder.iterdir()) == []


@pytest.fixture
def bare(client: docker.DockerClient) -> Iterator[str]:
    """An image with one file in it that is no shell."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("hello"), io.BytesIO())
    repository, _, tag = BARE.partition(":")
    client.api.import_image_from_data(out.getvalue(), repository=repository, tag=tag)
    yield BARE
    remove_image(BARE)


def run(folder: Path, url: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    settings = {"API_URL": url, "ACCESS_TOKEN": "mock-token", "PATH_BASE": str(folder / "base")}
    command = [sys.executable, "-m", "jobfetcher", *arguments]
    environ = {**os.environ, **settings, **variables}
    return subprocess.run(command, env=environ, cwd=folder, capture_output=True, text=True, check=False)


def doctor(
    folder: Path, url: str, *arguments: str, **variables: str
) -> tuple[int, dict[str, dict[str, Any]]]:
    done = run(folder, url, "doctor", "--json", *arguments, **variables)
    return done.returncode, {check["name"]: check for check in json.loads(done.stdout)["checks"]}


def test_where_all_is_well_a_container_shows_it(mock: MockServer, tmp_path: Path, image: str) -> None:
    """The engine's version is named, and what a container writes arrives."""
    code, checks = doctor(tmp_path, mock.url)

    assert code == 0, checks
    assert [checks[name]["status"] for name in ("Docker", "files", "pull")] == ["ok", "ok", "skipped"]
    assert checks["Docker"]["found"].startswith("version ")


def test_a_wrong_path_host_base_is_found_out(mock: MockServer, tmp_path: Path, image: str) -> None:
    """The engine's machine has no such folder, or another one of that name."""
    code, checks = doctor(tmp_path, mock.url, "--image", image, PATH_HOST_BASE=str(tmp_path / "elsewhere"))

    assert (code, checks["files"]["status"]) == (1, "failed")
    assert checks["files"]["mend"].startswith("Set PATH_HOST_BASE to the name that")


def test_a_path_host_base_that_is_another_folder_is_found_out(
    engine: DockerEngine, place: Place, tmp_path: Path, image: str
) -> None:
    """The engine does have a folder of that name, and what is written there does not arrive."""
    other = tmp_path / "other"
    other.mkdir(mode=0o777)

    check = check_files(engine, Place(place.folder, lambda _: other), image)

    assert (check.status, "does not arrive" in check.found) == (Status.FAILED, True)


def test_an_image_without_a_shell_is_named(engine: DockerEngine, place: Place, bare: str) -> None:
    """Jobs run their command with a shell; without an image given, others are tried."""
    check = check_files(engine, place, bare)

    assert (check.status, check.found) == (Status.FAILED, f"{bare} has no /bin/sh")


def test_an_image_without_a_shell_is_passed_over(
    engine: DockerEngine, place: Place, bare: str, image: str
) -> None:
    """Without an image given the smallest one with a shell is taken."""
    assert check_files(engine, place, None).status is Status.OK


def test_a_folder_that_is_not_there_is_not_the_engines_fault(engine: DockerEngine, tmp_path: Path) -> None:
    """The check of the folder says what to do; this one only stays out of it."""
    check = check_files(engine, Place(tmp_path / "none", lambda folder: folder), None)

    assert (check.status, check.found) == (Status.SKIPPED, "there is no folder")


def test_an_image_that_is_not_here_is_asked_for(engine: DockerEngine, place: Place) -> None:
    """Nothing is pulled without being told to: the sentence says how."""
    check = check_files(engine, place, "jobfetcher-test/none:latest")

    assert (check.status, "docker pull jobfetcher-test/none:latest" in check.mend) == (Status.SKIPPED, True)


def test_a_registry_is_asked_without_pulling(engine: DockerEngine, registry: Registry) -> None:
    """An image that is there may be pulled, another tag may not; neither is here afterwards."""
    there = registry.publish("doctor/app:1", {"/bin/app": "#!/bin/sh\n"})

    seen = [check_pull(engine, image).status for image in (there, registry.image("doctor/app:2"))]

    assert seen == [Status.OK, Status.FAILED]
    assert engine.image_id(there) is None


def test_a_registry_that_is_away_matters_less_with_a_copy_here(
    engine: DockerEngine, client: docker.DockerClient, image: str
) -> None:
    """Nothing listens on that port: a failure, or a warning where the engine has the image."""
    away = "127.0.0.1:1/doctor/app:1"
    without = check_pull(engine, away)
    client.images.get(image).tag("127.0.0.1:1/doctor/app", "1")
    try:
        with_copy = check_pull(engine, away)
    finally:
        remove_image(away)

    assert (without.status, with_copy.status) == (Status.FAILED, Status.WARNING)
    assert "refused" in without.found
    assert check_pull(engine, "no image").status is Status.FAILED


def test_an_engine_without_the_nvidia_toolkit_fails(engine: DockerEngine, image: str) -> None:
    """A GPU that NVML shows is not given to containers: the engine's refusal, and what to install.

    Where the engine does give GPUs out, a number that is not theirs is noticed instead.
    """
    check = check_container_gpus(engine, image, 99)

    assert (check.status, "NVIDIA container toolkit" in check.mend) == (Status.FAILED, True)
    assert check_container_gpus(engine, None, 1).status is Status.SKIPPED
    assert check_container_gpus(engine, image, 0).status is Status.SKIPPED


def test_what_a_killed_examination_left_is_removed(engine: DockerEngine, image: str) -> None:
    """Its container goes with the next one that needs a container; one at work is left alone."""
    engine.create("jobfetcher-doctor-left", {"Image": image, "Labels": {DOCTOR: "true"}})

    remove_leftovers(engine)
    young = len(engine.listed({DOCTOR: "true"}))
    remove_leftovers(engine, older_than=0)

    assert (young, engine.listed({DOCTOR: "true"})) == (1, [])


@pytest.mark.root
def test_a_socket_that_is_not_ours_names_the_group(engine: DockerEngine, tmp_path: Path) -> None:
    """No permission on the socket is another matter than no engine."""
    os.seteuid(65534)
    try:
        check = check_engine(engine)
    finally:
        os.seteuid(0)

    assert (check.status, "group docker" in check.mend) == (Status.FAILED, True)


def test_a_log_is_live_and_later_with_the_results(
    mock: MockServer, worker: WorkerProcess, image: str
) -> None:
    """A container that is yet to come is waited for, and its log followed to its end; afterwards a sentence
    says where the log is.
    """
    go = "until [ -e /files/go ]; do sleep 0.05; done"
    job = str(mock.control.submit(image=image, cmd=[f"echo one; {go}; echo two"], files_up={"log": "log"}))
    worker.start()
    worker.wait_for_state(job, "fetched", "downloading", "running")
    command = [sys.executable, "-m", "jobfetcher", "logs", job, "-f", "--path-base", str(worker.base)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as following:
        assert following.stdout is not None
        first = following.stdout.readline()
        now = run(worker.base.parent, mock.url, "logs", job, "--path-base", str(worker.base))
        (next(worker.base.glob("jobs/*/1")) / "go").touch()
        rest = following.stdout.read()
    worker.wait_for_state(job, "finished")
    named = (worker.base / "worker-id").read_text().strip()
    until("the sweep", lambda: containers_of(named) == [])
    later = run(worker.base.parent, mock.url, "logs", job, "--path-base", str(worker.base))

    assert (first, now.stdout, rest, following.returncode) == ("one\n", "one\n", "two\n", 0)
    assert (later.returncode, later.stdout) == (1, "")
    assert "its log was uploaded with the results, as log/container.log" in later.stderr
