"""A worker over what an earlier or a later one left: its database, its settings."""

import json
import os
import re
import shlex
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from pydantic import SecretStr

from jobfetcher import ApiClient, Resources, login
from jobfetcher.settings import Settings
from mock_api.client import TOKEN, MockServer
from persistence import upkeep
from persistence.migrate import upgrade
from states.spec import JobSpec
from tests.service_view import GOOD
from tests.worker_process import WorkerProcess

DATA = Path(__file__).parents[1] / "data"
ACCOUNT, PASSWORD = "my-lab", "pass word #1"


@pytest.fixture
def worker(tmp_path: Path, mock: MockServer) -> Iterator[WorkerProcess]:
    with WorkerProcess(tmp_path / "worker", mock.url, RUNNER="process") as made:
        yield made


def leased(mock: MockServer) -> tuple[int, JobSpec]:
    """A job that the worker of before has taken."""
    job = mock.control.submit(
        cmd=["echo out > /files/output/x"], files_up={"output": "output"}, image="busybox"
    )
    with ApiClient(mock.url, login(mock.url, token=SecretStr(TOKEN))) as api:
        [spec] = api.fetch_jobs(Resources(memory=1000))
    return job, spec


def left_by(base: Path, schema: str, live: JobSpec) -> Path:
    """The folder of a worker of that schema, which has ``live`` at work."""
    base.mkdir()
    (base / "worker-id").write_text("w\n")
    path = base / "jobfetcher.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript((DATA / f"jobfetcher-{schema}.sql").read_text())
        values = (live.id, live.lease, live.model_dump_json())
        connection.execute("UPDATE jobs SET api_id = ?, lease = ?, spec = ? WHERE key = 3", values)
    return path


@pytest.mark.row(53)
@pytest.mark.parametrize("schema", ["0001", "0002"])
def test_live_jobs_of_an_older_version_go_on(mock: MockServer, worker: WorkerProcess, schema: str) -> None:
    """The start copies the database and migrates it; the job that was at work comes to its end."""
    job, spec = leased(mock)
    path = left_by(worker.base, schema, spec)

    worker.start()

    mock.control.wait_status(job, "finished", "error", timeout_seconds=60)
    assert mock.control.uploaded(job, "output/output/x") == b"out\n"
    assert mock.control.statuses(job)[-1] == "finished"
    assert mock.control.violations() == []
    assert upkeep.check(path.with_name(f"jobfetcher.db.backup-{schema}")).revision == schema
    assert not upkeep.check(path).is_older


@pytest.mark.row(53)
def test_an_older_version_says_the_way_back_which_leads_on(mock: MockServer, worker: WorkerProcess) -> None:
    """It refuses what a newer one has migrated, and names the command; after that the jobs of then go on."""
    job, spec = leased(mock)
    path = left_by(worker.base, "0002", spec)
    upgrade(f"sqlite:///{path}")
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")

    assert worker.start().ended() == 1

    [command] = re.findall(r"jobfetcher (db restore [^ ]+)\.$", worker.log.read_text(), re.MULTILINE)
    arguments = [*shlex.split(command), "--path-base", str(worker.base)]
    subprocess.run([sys.executable, "-m", "jobfetcher", *arguments], check=True, capture_output=True)
    worker.start()
    mock.control.wait_status(job, "finished", timeout_seconds=60)
    assert mock.control.violations() == []


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[MockServer]:
    """An API with the account of the existing worker's file."""
    with MockServer(tmp_path / "api", "--account", ACCOUNT, "--password", PASSWORD) as server:
        yield server


def started_with(folder: Path, service: MockServer) -> subprocess.Popen[bytes]:
    """A worker with nothing but the file, in which address and folder are this test's."""
    text = (DATA / "existing-worker.env").read_text()
    text = text.replace("https://api.example.org:443", service.url).replace("/data ", f"{folder / 'base'} ")
    (folder / ".env").write_text(text)
    names = {name.upper() for name in Settings.model_fields}
    kept = {name: value for name, value in os.environ.items() if name not in names}
    # A login shell's; and what no .env would hold: where the mock plays Cognito, and that there is no engine.
    shell = {"USERNAME": "root", "COGNITO_URL": f"{service.url}/cognito", "RUNNER": "process"}
    command = [sys.executable, "-m", "jobfetcher", "run"]
    log = (folder / "worker.log").open("wb")
    with log:
        environ = {**kept, **shell, "MIN_FREE_DISK": "0"}
        return subprocess.Popen(command, env=environ, cwd=folder, stdout=log, stderr=log)


def test_the_existing_workers_file_works_unchanged(tmp_path: Path, lab: MockServer) -> None:
    """Comments, quotes, empty values and its README's spelling: the worker logs in and does a job."""
    job = lab.control.submit(cmd=["echo out > /files/output/x"], files_up={"output": "output"})
    worker = started_with(tmp_path, lab)
    try:
        lab.control.wait_status(job, "finished", "error", timeout_seconds=60)
    finally:
        worker.kill()
        worker.wait()

    assert list(dict.fromkeys(lab.control.statuses(job))) == GOOD
    assert lab.control.uploaded(job, "output/output/x") == b"out\n"
    assert (tmp_path / "base" / "jobfetcher.db").exists()


def test_the_existing_workers_file_is_understood(tmp_path: Path) -> None:
    """Each line means what it meant."""
    (tmp_path / ".env").write_text((DATA / "existing-worker.env").read_text())
    kept = {name: value for name, value in os.environ.items() if name not in ("USERNAME", "PASSWORD")}
    command = [sys.executable, "-m", "jobfetcher", "config", "--json"]
    done = subprocess.run(command, cwd=tmp_path, env=kept, capture_output=True, check=True)
    given = {row["name"]: row["value"] for row in json.loads(done.stdout) if row["from"] == ".env"}

    assert given == {
        "API_URL": "https://api.example.org:443",
        "USERNAME": ACCOUNT,
        "PASSWORD": "***",
        "PATH_BASE": "/data",
        "PATH_HOST_BASE": "/srv/jobs",
        "TIMEOUT_JOB": 30.0,
        "TIMEOUT_STATUS": 30.0,
    }
