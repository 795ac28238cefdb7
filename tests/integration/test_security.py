"""What a job may touch, and what nobody may read: each test tries to break it."""

import json
import os
import random
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
import tracemalloc
import urllib.request
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest
from pydantic import SecretStr

from jobfetcher.api.auth import login
from jobfetcher.api.client import ApiClient
from jobfetcher.api.retries import NEVER
from jobfetcher.transfer.spool import Spool
from jobfetcher.transfer.tree import Findings, walk
from jobfetcher.transfer.upload import upload_outputs
from mock_api.client import TOKEN, MockServer
from states.errors import JobFailed
from states.ports import Resources, StoredFile
from states.spec import JobSpec
from tests.worker_process import WorkerProcess, until

SECRET = b"root:x:the secret"
MIB = 1024 * 1024


@pytest.fixture
def api(mock: MockServer) -> Iterator[ApiClient]:
    with ApiClient(mock.url, login(mock.url, token=SecretStr(TOKEN))) as client:
        yield client


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder with secrets that no job may reach."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "2").write_bytes(SECRET)
    return folder


def leased(mock: MockServer, api: ApiClient) -> JobSpec:
    """A job that is ours, with one output folder."""
    mock.control.submit(files_up={"output": "out"})
    [job] = api.fetch_jobs(Resources(memory=1000))
    return job


def test_a_folder_swapped_for_a_link_while_it_is_read_gives_nothing_away(
    mock: MockServer, api: ApiClient, tmp_path: Path, outside: Path
) -> None:
    """Between two files the job's folder becomes a link to secrets: what is behind it does not go up."""
    folder = tmp_path / "files"
    for name in ("a/1", "b/2", "c/3"):
        (folder / "out" / name).parent.mkdir(parents=True)
        (folder / "out" / name).write_bytes(b"mine")
    swapped: list[str] = []

    def swap(done: StoredFile) -> None:
        if not swapped:
            (folder / "out" / "b").rename(folder / "moved")
            (folder / "out" / "b").symlink_to(outside)
            swapped.append(done.path)

    job = leased(mock, api)
    upload_outputs(api, job, folder, connections=1, on_done=swap)

    assert swapped == ["out/a/1"]
    uploads = mock.control.uploads(int(job.id))
    assert [upload.path for upload in uploads] == ["output/out/a/1", "output/out/c/3"]


@pytest.mark.root
def test_devices_do_not_go_up(mock: MockServer, api: ApiClient, tmp_path: Path) -> None:
    """A device in an output folder (an endless one at that) is left out."""
    out = tmp_path / "files" / "out"
    out.mkdir(parents=True)
    (out / "good").write_bytes(b"x")
    os.mknod(out / "zero", stat.S_IFCHR | 0o666, os.makedev(1, 5))
    os.mknod(out / "disk", stat.S_IFBLK | 0o666, os.makedev(7, 0))
    job = leased(mock, api)

    upload_outputs(api, job, tmp_path / "files")

    assert [upload.name for upload in mock.control.uploads(int(job.id))] == ["good"]


@pytest.mark.root
def test_what_the_worker_may_not_read_is_named_and_the_rest_goes_up(mock: MockServer, api: ApiClient) -> None:
    """A worker that is not root meets root's file with mode 000: a sentence for the owner, nothing lost."""
    home = Path(tempfile.mkdtemp(prefix="jf-unreadable-"))
    try:
        out = home / "files" / "out"
        out.mkdir(parents=True)
        (out / "closed").write_bytes(b"x")
        (out / "closed").chmod(0)
        (out / "open").write_bytes(b"y")
        for path in (home, home / "files", out):
            os.chown(path, 65534, 65534)
        job = leased(mock, api)

        said = as_nobody(lambda: upload_outputs(api, job, home / "files"))

        assert "The worker may not read the job's output 'out/closed'" in said
        assert [upload.name for upload in mock.control.uploads(int(job.id))] == ["open"]
    finally:
        shutil.rmtree(home)


def as_nobody(call: object) -> str:
    """Run ``call`` in a child without any right, and return what it failed with."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        os.setgroups([])
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
        try:
            call()  # type: ignore[operator]  # a call without arguments
            said = "nothing"
        except JobFailed as failure:
            said = str(failure)
        except BaseException as error:
            said = repr(error)
        os.write(writing, said.encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read().decode()
    os.waitpid(child, 0)
    return said


def test_a_hundred_thousand_outputs_are_walked_in_bounded_memory(tmp_path: Path) -> None:
    """The walk holds a folder at a time, not the tree."""
    for number in range(1000):
        below = tmp_path / "out" / f"{number:03}"
        below.mkdir(parents=True)
        for name in range(100):
            (below / f"{name}").touch()
    tracemalloc.start()
    try:
        count = sum(1 for _ in walk(tmp_path, "output", PurePosixPath("out"), Findings()))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert count == 100_000
    assert peak < 8 * MIB


def test_a_log_of_gigabytes_takes_bounded_disk_and_memory(tmp_path: Path) -> None:
    """Of three gigabytes the last megabytes are kept, byte for byte; no more is ever on disk."""
    cap, size = 4 * MIB, 3 * 1024 * MIB
    noise = random.Random(1).randbytes(MIB + 7)

    def log() -> Iterator[bytes]:
        left = size
        while left:
            piece = noise[: min(left, len(noise))]
            left -= len(piece)
            yield piece

    tracemalloc.start()
    try:
        with Spool(tmp_path / "log", cap) as spool:
            spool.take(log(), NEVER)
            on_disk = (tmp_path / "log").stat().st_size
            kept = b"".join(os.pread(fd, count, place) for fd, place, count in spool.spans())
            _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    tail = (noise * 6)[: size % len(noise) + 5 * len(noise)][-cap:]
    assert on_disk <= cap
    assert kept == tail
    assert peak < 3 * cap


def test_an_image_that_is_not_allowed_does_not_run(tmp_path: Path, mock: MockServer) -> None:
    """ALLOWED_IMAGES holds for every job, and the owner is told."""
    with WorkerProcess(tmp_path / "w", mock.url, RUNNER="process", ALLOWED_IMAGES="lab/*") as worker:
        bad = mock.control.submit(image="evil/miner:1", cmd=["touch /files/ran"])
        good = mock.control.submit(image="lab/tool:1", cmd=["true"])
        worker.start()
        mock.control.wait_status(bad, "error", timeout_seconds=60)
        mock.control.wait_status(good, "finished", timeout_seconds=60)

    view = mock.control.job(bad)
    assert view is not None
    assert "'evil/miner:1' is not among those" in view.runtime_details
    assert mock.control.statuses(bad) == ["preprocessing", "error"]


PASSWORD = "pass-phrase-4711"
PRESIGNED = ("X-Amz-Signature", "X-Amz-Credential", "x-amz-signature")


def test_no_secret_is_in_any_log_row_or_output(tmp_path: Path) -> None:
    """A run with known secrets and with errors; then everything that it left is searched for them."""
    with MockServer(tmp_path / "api", "--files", "presigned") as mock:
        mock.control.add_account("lab", password=PASSWORD)
        mock.control.put_file("/user/x", b"content")
        mock.control.fault("cut_body_after", path_regex="/_s3/", bytes=2)
        mock.control.fault("status", path_regex="/_s3/", code=500, skip=1)
        mock.control.fault("status", method="PUT", code=503)
        variables = {
            "ACCESS_TOKEN": "",
            "USERNAME": "lab",
            "PASSWORD": PASSWORD,
            "COGNITO_URL": f"{mock.url}/cognito",
            "RUNNER": "process",
        }
        jobs = [
            mock.control.submit(
                cmd=["echo made > /files/out/a"], files_down={"x": "/user/x"}, files_up={"output": "out"}
            ),
            mock.control.submit(cmd=["true"], files_down={"x": "/user/missing"}),
            mock.control.submit(cmd=["env; exit 4"]),
        ]
        with WorkerProcess(tmp_path / "w", mock.url, **variables) as worker:
            worker.start()
            for job in jobs:
                mock.control.wait_status(job, "finished", "error", timeout_seconds=90)
            tokens = issued(mock)
            until("three jobs swept", lambda: not list(worker.base.glob("jobs/*")))
            shown = command(worker, "jobs") + "".join(command(worker, "show", str(job)) for job in jobs)
            left = {
                "log": worker.log.read_text(),
                "database": dump(worker.base / "jobfetcher.db"),
                "commands": shown,
                "details": json.dumps([mock.control.job(job).runtime_details for job in jobs]),  # type: ignore[union-attr]
            }

    assert tokens
    for name, text in left.items():
        for secret in (PASSWORD, *tokens, *PRESIGNED):
            assert secret not in text, f"{secret} is in the {name}"


def issued(mock: MockServer) -> list[str]:
    """How every token of the mock's Cognito begins."""
    with urllib.request.urlopen(f"{mock.url}/access_info", timeout=10) as answer:
        client = json.load(answer)["cognito"]["client_id"]
    body = {
        "AuthFlow": "USER_PASSWORD_AUTH",
        "ClientId": client,
        "AuthParameters": {"USERNAME": "lab", "PASSWORD": PASSWORD},
    }
    headers = {
        "X-Amz-Target": "AWSCognitoIdentityProviderService.InitiateAuth",
        "Content-Type": "application/x-amz-json-1.1",
    }
    request = urllib.request.Request(f"{mock.url}/cognito", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=10) as answer:
        token = json.load(answer)["AuthenticationResult"]["IdToken"]
    return [token.split(".")[0] + "."]


def dump(path: Path) -> str:
    connection = sqlite3.connect(path)
    try:
        return "\n".join(connection.iterdump())
    finally:
        connection.close()


def command(worker: WorkerProcess, *arguments: str) -> str:
    line = [sys.executable, "-m", "jobfetcher", *arguments, "--json", "--path-base", str(worker.base)]
    return subprocess.run(line, check=True, capture_output=True, text=True).stdout
