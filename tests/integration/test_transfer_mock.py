"""Transfers against the mock API, with files on its disk and behind presigned requests; and after crashes."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from jobfetcher.api.auth import FixedToken, login
from jobfetcher.api.client import ApiClient
from jobfetcher.api.errors import NotFound
from jobfetcher.api.retries import Policy
from jobfetcher.stop import StopSignal
from jobfetcher.transfer import JobTransfers
from jobfetcher.transfer.batch import SMALL
from mock_api.client import TOKEN, MockServer
from states.errors import JobFailed, JobGone
from states.job import ApiStatus, Job
from states.ports import Resources, StoredFile
from states.spec import FileType
from tests.fake_store import FakeStore

QUICK = Policy(tries=6, first=0.01, limit=0.02)
BIG = os.urandom(5_000_000)
INPUTS = {
    "data/a b#c.tif": ("/user_data/x/a b#c.tif", b"one"),
    "data/ü.h5": ("/user_data/x/Zählung ü?.h5", b"two"),
    "data/literal": ("/user_data/x/a%20b", b"three"),
    "data/decoy": ("/user_data/x/a b", b"not three"),
    "config/.": ("/user_data/x/config", b""),
    "big": ("/user_data/x/big", BIG),
}
FILES_DOWN = {path: file_id for path, (file_id, _) in INPUTS.items()}


@pytest.fixture(scope="module", params=["local", "presigned"])
def mock(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MockServer]:
    data = tmp_path_factory.mktemp("mock")
    with MockServer(data, "--files", request.param, "--max-post-bytes", "20000000") as server:
        for file_id, content in INPUTS.values():
            server.control.put_file(file_id, content)
        yield server


@pytest.fixture(autouse=True)
def _fresh(mock: MockServer) -> Iterator[None]:
    yield
    violations = mock.control.violations()
    mock.control.reset()

    assert violations == []


@pytest.fixture
def api(mock: MockServer) -> Iterator[ApiClient]:
    with ApiClient(mock.url, FixedToken(SecretStr(TOKEN))) as client:
        yield client


class Worker:
    """What a worker has at hand for one job."""

    def __init__(self, api: ApiClient, mock: MockServer, folder: Path, **job: Any) -> None:
        self.id = mock.control.submit(**job)
        [spec] = api.fetch_jobs(Resources(memory=1))
        self.store = FakeStore()
        self.job: Job = self.store.add(spec)
        api.put_status(spec.id, ApiStatus.PREPROCESSING)
        self.folder = folder
        self.stop = StopSignal()
        self.transfers = JobTransfers(api, self.store, policy=QUICK, inactivity=30)
        folder.mkdir()

    def download(self) -> None:
        self.transfers.download(self.job, self.folder, self.stop)

    def upload(self, *log: bytes) -> str:
        sent = self.transfers.upload(self.job, self.folder, iter(log), self.stop)
        self.store.record_files(self.job, sent.files)  # as the job's move does
        return sent.last_lines

    def write(self, path: str, content: bytes) -> None:
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)


def test_every_input_arrives_whatever_its_name(api: ApiClient, mock: MockServer, tmp_path: Path) -> None:
    """Spaces, ``#``, ``?``, umlauts and a literal ``%20`` fetch the very file that was meant."""
    worker = Worker(api, mock, tmp_path / "job", files_down=FILES_DOWN)
    worker.download()

    expected = {str(Path(path)): content for path, (_, content) in INPUTS.items()}
    assert {path: (worker.folder / path).read_bytes() for path in expected} == expected
    assert sorted(f.path for f in worker.store.files(worker.job, "down")) == sorted(expected)


def test_outputs_and_log_arrive_where_later_jobs_look(
    api: ApiClient, mock: MockServer, tmp_path: Path
) -> None:
    """Type, base path and name are kept; the log comes along; a second upload sends nothing."""
    worker = Worker(api, mock, tmp_path / "job", files_up={"artifact": "model", "log": "log"})
    worker.write("model/a/b ü#.pt", BIG)
    worker.write("model/empty", b"")
    tail = worker.upload(b"hello\n", b"world\n")
    worker.upload(b"hello\n", b"world\n")

    uploads = {upload.path: (upload.size, upload.times) for upload in mock.control.uploads(worker.id)}
    assert uploads == {
        "artifact/model/a/b ü#.pt": (len(BIG), 1),
        "artifact/model/empty": (0, 1),
        "log/log/container.log": (12, 1),
    }
    assert mock.control.uploaded(worker.id, "artifact/model/a/b ü#.pt") == BIG
    assert tail == "hello\nworld"


@pytest.mark.row(6)
def test_a_download_that_breaks_is_continued(api: ApiClient, mock: MockServer, tmp_path: Path) -> None:
    """A body cut short is continued by a range; what ignores the range begins anew."""
    mock.control.fault("cut_body_after", "big", times=2, bytes=2_000_000, skip=1)
    mock.control.fault("ignore_range", "big", times=1, skip=3)
    worker = Worker(api, mock, tmp_path / "job", files_down={"big": FILES_DOWN["big"]})
    worker.download()

    assert (worker.folder / "big").read_bytes() == BIG


@pytest.mark.row(7)
def test_a_missing_input_fails_the_job(api: ApiClient, mock: MockServer, tmp_path: Path) -> None:
    """The owner reads which file is missing; it is not taken for a cancelled job."""
    worker = Worker(api, mock, tmp_path / "job", files_down={"data/x": "/user_data/x/gone"})
    with pytest.raises(JobFailed, match="The input file 'data/x' cannot be downloaded"):
        worker.download()


@pytest.mark.row(27)
def test_uploads_of_a_deleted_job_end_as_gone(api: ApiClient, mock: MockServer, tmp_path: Path) -> None:
    """500 for ever, and the status says 404: the job is gone."""
    worker = Worker(api, mock, tmp_path / "job", files_up={"output": "out"})
    worker.write("out/a", b"x")
    mock.control.delete_job(worker.id)
    with pytest.raises(NotFound):
        api.put_status(worker.job.id, ApiStatus.RUNNING)
    with pytest.raises(JobGone):
        worker.upload()


def test_faults_of_the_service_are_survived(api: ApiClient, mock: MockServer, tmp_path: Path) -> None:
    """5xx, resets, lost answers and pages of a proxy between, on every route of files."""
    for kind in ("status", "reset", "lose_response"):
        mock.control.fault(kind, "(/files|/_s3|/url|bucket)", times=2, code=502, body="<html>")
    worker = Worker(api, mock, tmp_path / "job", files_down=FILES_DOWN, files_up={"output": "data"})
    worker.download()
    worker.upload()

    assert len(mock.control.uploads(worker.id)) == 5


def test_a_file_beyond_the_limit_of_a_post(api: ApiClient, mock: MockServer, tmp_path: Path) -> None:
    """A presigned upload has a limit, and the owner hears of it; files on the service's disk have none."""
    worker = Worker(api, mock, tmp_path / "job", files_up={"output": "out"})
    worker.write("out/huge", BIG * 5)
    presigned = "policy" in {
        n.lower() for n in api.upload_request(worker.job.id, FileType.OUTPUT, "out").data
    }
    if presigned:
        with pytest.raises(JobFailed, match="larger than the storage takes"):
            worker.upload()
    else:
        worker.upload()


def test_a_stale_presigned_request_is_replaced(api: ApiClient, mock: MockServer, tmp_path: Path) -> None:
    """Ten minutes within a folder of many files: the request is asked for anew, and all files arrive."""
    worker = Worker(api, mock, tmp_path / "job", files_up={"output": "out"})
    for number in range(30):
        worker.write(f"out/{number:02}", bytes(SMALL))
    aged: list[bool] = []
    record = worker.store.record_files

    def grow_old(job: Job, files: Sequence[StoredFile]) -> None:
        record(job, files)
        if len(worker.store.files(job, "up")) >= 10 and not aged:
            aged.append(True)
            mock.control.advance(700)

    worker.store.record_files = grow_old  # type: ignore[method-assign]  # time passes between two files
    worker.upload()

    assert aged == [True]
    assert len(mock.control.uploads(worker.id)) == 31


def test_a_login_by_password_reaches_the_api(mock: MockServer) -> None:
    """From ``/access_info`` over the login to a call; an expired token is renewed on its 401."""
    auth = login(
        mock.url, username="worker", password=SecretStr("mock-password"), endpoint_url=f"{mock.url}/cognito"
    )
    with ApiClient(mock.url, auth) as client:
        assert client.fetch_jobs(Resources(memory=1)) == []
        mock.control.expire_tokens()
        assert client.fetch_jobs(Resources(memory=1)) == []


_WHILE_DOWN = ("part-written", "before-rename", "after-rename")
CRASH_PLAN = [
    *[
        (f"download.{name}", at)
        for name in ("part-written", "before-rename", "after-rename")
        for at in (1, 3)
    ],
    ("download.recorded", 2),
    *[(f"upload.{name}", at) for name in ("before-post", "after-post", "recorded") for at in (1, 3)],
    ("upload.log-spooled", 1),
]


@pytest.mark.row(26)
@pytest.mark.parametrize(("name", "at"), CRASH_PLAN)
def test_a_crash_anywhere_loses_and_doubles_nothing(
    mock: MockServer, api: ApiClient, tmp_path: Path, name: str, at: int
) -> None:
    """Killed at any point, the next process ends with the same files, each uploaded at most twice."""
    submitted = mock.control.submit(files_down=FILES_DOWN, files_up={"output": "data", "log": "log"})
    [spec] = api.fetch_jobs(Resources(memory=1))
    api.put_status(spec.id, ApiStatus.PREPROCESSING)
    (tmp_path / "spec.json").write_text(spec.model_dump_json())
    command = [sys.executable, "-m", "tests.transfer_process", mock.url, TOKEN, str(tmp_path)]
    killed = subprocess.run(
        command, env={**os.environ, "JOBFETCHER_FAILPOINTS": f"{name}@{at}=kill"}, check=False
    )
    subprocess.run(command, check=True)

    assert killed.returncode == -9
    outputs = {f"output/data/{path[5:]}": content for path, (_, content) in INPUTS.items() if "data/" in path}
    uploads = {upload.path: upload for upload in mock.control.uploads(submitted)}
    assert sorted(uploads) == sorted([*outputs, "log/log/container.log"])
    assert {path: mock.control.uploaded(submitted, path) for path in outputs} == outputs
    assert max(upload.times for upload in uploads.values()) <= 2
    records = [json.loads(line) for line in (tmp_path / "records").read_text().splitlines()]
    assert len({(r["direction"], r["kind"], r["path"]) for r in records}) == len(records)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["job", "records", "spec.json"]
