"""``jobfetcher doctor``: each thing a worker needs is broken for real, and named with what to do about it."""

import fcntl
import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from jobfetcher.api.client import ApiClient
from jobfetcher.app import make_auth
from jobfetcher.doctor.check import Check, Status
from jobfetcher.doctor.engine import check_container_gpus, check_engine
from jobfetcher.doctor.machine import NOT_SHOWN, check_database, check_disk, check_gpus, check_lock
from jobfetcher.doctor.service import check_clock, check_service, reach
from jobfetcher.lock import state_lock
from jobfetcher.runners.docker import DockerEngine
from jobfetcher.settings import load
from mock_api.client import MockServer
from persistence.store import SqlStore
from tests import lockless
from tests.loopback import SilentServer
from tests.nvml import SOURCE
from tests.scripted_server import ScriptedServer, always
from tests.store_life import spec
from tests.unit.test_gpus import TWO
from tests.worker_process import WorkerProcess, until

OLD = Path(__file__).parents[1] / "data" / "jobfetcher-0001.sql"
NAMES = {"settings", "folder", "disk", "lock", "database", "API", "clock", "login", "group", "Docker", "GPU"}
NAMES |= {"pull", "files", "GPU in containers"}

ASK_LOCK = """
import json, sys
from dataclasses import asdict
from pathlib import Path
from jobfetcher.doctor.machine import check_lock
print(json.dumps(asdict(check_lock(Path(sys.argv[1])))))
"""
ASK_GPUS = """
import json
from dataclasses import asdict
from jobfetcher.doctor.machine import check_gpus
from jobfetcher.hardware import gpus
print(json.dumps(asdict(check_gpus(gpus))))
"""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MockServer]:
    with MockServer(tmp_path_factory.mktemp("api")) as server:
        server.control.add_account("lab", password="pass-phrase")
        server.control.add_account("guest", token="guest-token", password="pass-phrase", groups=("users",))
        server.control.add_account("nobody", password="pass-phrase", groups=())
        yield server


def run_doctor(folder: Path, url: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    settings = {"API_URL": url, "ACCESS_TOKEN": "mock-token", "PATH_BASE": str(folder / "base")}
    environ = {**os.environ, "RUNNER": "process", **settings, **variables}
    command = [sys.executable, "-m", "jobfetcher", "doctor", *arguments]
    return subprocess.run(command, env=environ, cwd=folder, capture_output=True, text=True, check=False)


def doctor(folder: Path, url: str, **variables: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """The exit code, and what each check found."""
    done = run_doctor(folder, url, "--json", **variables)
    assert done.stdout, done.stderr
    said = json.loads(done.stdout)
    assert said["ok"] == (done.returncode == 0)
    return done.returncode, {check["name"]: check for check in said["checks"]}


def bad(checks: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Checks that are neither fine nor left out."""
    return {name: c["status"] for name, c in checks.items() if c["status"] not in ("ok", "skipped")}


def given_names(settings: dict[str, str]) -> dict[str, str]:
    """Settings as environment variables."""
    return {name.upper(): value for name, value in settings.items()}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def test_where_all_is_well_nothing_is_to_be_done(service: MockServer, tmp_path: Path) -> None:
    """Exit code 0; every check is there; and no job is taken to find that out."""
    service.control.reset()
    service.control.submit(cmd=["true"])

    code, checks = doctor(tmp_path, service.url)

    assert (code, bad(checks), set(checks)) == (0, {}, NAMES)
    asked = {(request.method, request.path) for request in service.control.requests()}
    assert asked == {("GET", "/access_info"), ("GET", "/jobs/0/status")}
    assert service.control.violations() == []


def test_hints_are_only_what_is_to_be_done(service: MockServer, tmp_path: Path) -> None:
    """``--fix-hints`` prints numbered sentences, and one sentence where there is nothing to do."""
    fine = run_doctor(tmp_path, service.url, "--fix-hints")
    wrong = run_doctor(tmp_path, f"http://127.0.0.1:{free_port()}", "--fix-hints", MIN_FREE_DISK=str(2**40))

    assert (fine.returncode, fine.stdout) == (0, "Nothing needs to be done.\n")
    assert [line[:3] for line in wrong.stdout.splitlines()] == ["1. ", "2. "]
    assert wrong.returncode == 1


def test_for_people_each_check_is_a_line(service: MockServer, tmp_path: Path) -> None:
    """What is wrong is followed by what to do, and the last line is the verdict."""
    done = run_doctor(tmp_path, service.url, MIN_FREE_DISK=str(2**40))

    assert "→ Free some space in" in done.stdout
    assert done.stdout.splitlines()[-1] == "The worker cannot work yet: 1 of the checks failed."


def test_settings_that_are_missing_come_first(tmp_path: Path) -> None:
    """The variable is named; what depends on it is left out, what does not is looked at."""
    code, checks = doctor(tmp_path, "", ACCESS_TOKEN="")

    assert (code, bad(checks), set(checks)) == (1, {"settings": "failed"}, NAMES)
    assert "API_URL is missing" in checks["settings"]["found"]
    assert checks["GPU"]["status"] == "ok"


@pytest.mark.parametrize(
    ("account", "name", "found"),
    [
        pytest.param({"password": "wrong"}, "login", "refuses the name or the password", id="wrong password"),
        pytest.param({"username": "nobody"}, "group", "in no group (401)", id="in no group"),
        pytest.param({"username": "guest"}, "group", "not in the group 'workers' (403)", id="another group"),
        pytest.param({"access_token": "old"}, "group", "ACCESS_TOKEN is not accepted", id="token ended"),
        pytest.param({"access_token": "guest-token"}, "group", "(403)", id="token of another group"),
    ],
)
def test_an_account_that_may_not_work_is_told_why(
    service: MockServer, account: dict[str, str], name: str, found: str
) -> None:
    """Login and group are told apart, 401 and 403 too."""
    given = {"api_url": service.url, "username": "lab", "password": "pass-phrase", **account}
    settings = load(given_names(given), {"COGNITO_URL": f"{service.url}/cognito"})
    auth = make_auth(settings)
    with ApiClient(settings.api_url, auth, sleep=lambda _: None) as api:
        seen = list(check_service(settings.api_url, auth, api, settings.access_token is not None))

    failed = {check.name: check for check in seen if check.status is Status.FAILED}
    assert list(failed) == [name]
    assert (found in failed[name].found, bool(failed[name].mend)) == (True, True)


def test_an_account_of_the_workers_may_work(service: MockServer, tmp_path: Path) -> None:
    """With name and password."""
    account = {"ACCESS_TOKEN": "", "USERNAME": "lab", "PASSWORD": "pass-phrase"}

    code, checks = doctor(tmp_path, service.url, COGNITO_URL=f"{service.url}/cognito", **account)

    assert (code, checks["login"]["found"]) == (0, "the account is accepted")


def test_an_api_that_is_not_there_leaves_the_rest_out(tmp_path: Path) -> None:
    """A wrong port fails one check; those that need the API are skipped, with the reason."""
    code, checks = doctor(tmp_path, f"http://127.0.0.1:{free_port()}")

    assert (code, bad(checks)) == (1, {"API": "failed"})
    assert [checks[name]["status"] for name in ("clock", "login", "group")] == ["skipped"] * 3


@pytest.mark.parametrize(
    ("url", "found", "mend"),
    [
        pytest.param("http://127.0.0.1:{closed}", "connection refused", "Check the port", id="wrong port"),
        pytest.param("http://nowhere.invalid", "no such host", "spelling of API_URL", id="wrong name"),
        pytest.param("https://127.0.0.1:{open}", "TLS", "certificate", id="no TLS there"),
        pytest.param("http://127.0.0.1:{open}/v1", "answered 404", "with its path", id="wrong path"),
    ],
)
def test_an_api_that_does_not_answer_is_told_why(
    service: MockServer, url: str, found: str, mend: str
) -> None:
    """Name, port, encryption and path are told apart."""
    check, _ = reach(url.format(closed=free_port(), open=service.url.rpartition(":")[2]))

    assert check.status is Status.FAILED
    assert (found in check.found, mend in check.mend) == (True, True), check


@pytest.mark.parametrize(
    ("status", "body", "mend"),
    [
        pytest.param(200, b"<html>Sign in</html>", "Set API_URL", id="a sign-in page"),
        pytest.param(200, b'{"hello": "world"}', "Set API_URL", id="another service"),
        pytest.param(503, b"Down for today.", "try later", id="in trouble"),
    ],
)
def test_what_answers_and_is_not_the_api_is_noticed(status: int, body: bytes, mend: str) -> None:
    """Only the API's own answer counts."""
    with ScriptedServer(otherwise=always(status, body)) as server:
        check, answer = reach(server.url)

    assert (check.status, mend in check.mend, answer is not None) == (Status.FAILED, True, True)


def test_a_clock_that_goes_wrong_is_a_warning(service: MockServer) -> None:
    """Measured against the date of the API's answer, in either direction."""
    _, answer = reach(service.url)
    assert answer is not None
    date = answer.headers["date"]

    seen = [check_clock(date, time.time() + offset) for offset in (0, 3600, -3600)]

    assert [check.status for check in seen] == [Status.OK, Status.WARNING, Status.WARNING]
    assert ["ahead of" in seen[1].found, "behind" in seen[2].found] == [True, True]
    assert check_clock("no date", 0).status is Status.SKIPPED


def test_a_disk_without_room_fails(service: MockServer, tmp_path: Path) -> None:
    """Less free than MIN_FREE_DISK."""
    code, checks = doctor(tmp_path, service.url, MIN_FREE_DISK=str(2**40))

    assert (code, bad(checks)) == (1, {"disk": "failed"})


@pytest.mark.parametrize(
    ("files", "left", "expected"),
    [(1000000, 0, Status.FAILED), (1000000, 50, Status.WARNING), (0, 0, Status.OK)],
    ids=["none left", "few left", "not counted"],
)
def test_a_disk_may_run_out_of_files_too(tmp_path: Path, files: int, left: int, expected: Status) -> None:
    """Inodes, where the file system counts them."""
    counted = os.statvfs_result((4096, 4096, 10**9, 10**9, 10**9, files, left, left, 0, 255))

    assert expected == check_disk(tmp_path, 0, lambda _: counted).status


def test_a_folder_that_cannot_be_used_fails(service: MockServer, tmp_path: Path) -> None:
    """A file is where the folder should be."""
    (tmp_path / "base").touch()

    code, checks = doctor(tmp_path, service.url)

    assert (code, bad(checks)["folder"], checks["disk"]["status"]) == (1, "failed", "skipped")


def test_a_held_lock_is_a_running_worker(service: MockServer, tmp_path: Path) -> None:
    """Beside a running worker all is well, and it is named; the worker keeps its lock."""
    with WorkerProcess(tmp_path / "base", service.url, RUNNER="process") as worker:
        worker.start()
        until("the start", lambda: worker.log.exists() and "worker.started" in worker.log.read_text())

        code, checks = doctor(tmp_path, service.url)

        assert (code, bad(checks)) == (0, {})
        assert checks["lock"]["found"] == f"a worker is running (process {worker.process.pid})"
        assert worker.process.poll() is None


def test_looking_at_a_lock_does_not_take_it(tmp_path: Path) -> None:
    """Free before, free after."""
    before = check_lock(tmp_path)
    with state_lock(tmp_path):
        held = check_lock(tmp_path)
    with state_lock(tmp_path):
        pass

    assert (before.found, held.found) == (
        "no worker has run here yet",
        f"a worker is running (process {os.getpid()})",
    )
    assert check_lock(tmp_path).found == "no worker is running"


def test_a_worker_starts_although_somebody_looks_at_its_lock(tmp_path: Path) -> None:
    """The instant for which looking holds the lock does not count as another worker."""
    (tmp_path / "jobfetcher.lock").touch()
    with (tmp_path / "jobfetcher.lock").open() as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        done = threading.Timer(0.1, fcntl.flock, (looking, fcntl.LOCK_UN))
        done.start()
        with state_lock(tmp_path):
            found = check_lock(tmp_path).found
        done.join()

    assert found == f"a worker is running (process {os.getpid()})"


def test_a_folder_without_working_locks_fails(tmp_path: Path) -> None:
    """As a network file system may be: the worker refuses it too."""
    (tmp_path / "jobfetcher.lock").touch()
    command = [sys.executable, "-c", ASK_LOCK, str(tmp_path)]
    environ = {**os.environ, **lockless.environ(tmp_path)}
    done = subprocess.run(command, env=environ, check=True, capture_output=True, text=True)

    check = json.loads(done.stdout)
    assert (check["status"], "no working locks (no locks available)" in check["found"]) == ("failed", True)
    assert "local disk" in check["mend"]


def test_a_damaged_database_fails(service: MockServer, tmp_path: Path) -> None:
    """A page of it is overwritten; the sentence says what to do with the file."""
    base = tmp_path / "base"
    base.mkdir()
    with SqlStore(f"sqlite:///{base / 'jobfetcher.db'}", "w") as store:
        store.add_all([spec(number) for number in range(200)])
    with (base / "jobfetcher.db").open("r+b") as file:
        file.seek(4096 * 3)
        file.write(b"\xff" * 4096 * 4)

    code, checks = doctor(tmp_path, service.url)

    assert (code, bad(checks)) == (1, {"database": "failed"})
    assert "Move it away (keep it)" in checks["database"]["mend"]


def test_a_database_of_another_version_is_named(tmp_path: Path) -> None:
    """None yet and an older one are fine; a newer one and a text file are not."""
    none = check_database(f"sqlite:///{tmp_path / 'none.db'}")
    with closing(sqlite3.connect(tmp_path / "old.db")) as connection:
        connection.executescript(OLD.read_text())
    old = check_database(f"sqlite:///{tmp_path / 'old.db'}")
    shutil.copy(tmp_path / "old.db", tmp_path / "new.db")
    with closing(sqlite3.connect(tmp_path / "new.db")) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    new = check_database(f"sqlite:///{tmp_path / 'new.db'}")
    (tmp_path / "text.db").write_text("Buy milk.\n" * 500)
    text = check_database(f"sqlite:///{tmp_path / 'text.db'}")
    other = check_database("postgresql://somewhere/jobs")

    seen = [check.status.value for check in (none, old, new, text, other)]
    assert seen == ["ok", "ok", "failed", "failed", "failed"]
    assert all(check.mend for check in (new, text, other))


def test_an_engine_that_is_not_there_leaves_its_checks_out(service: MockServer, tmp_path: Path) -> None:
    """A dead socket fails one check."""
    code, checks = doctor(tmp_path, service.url, RUNNER="docker", DOCKER_HOST=f"unix://{tmp_path}/none.sock")

    assert (code, bad(checks)) == (1, {"Docker": "failed"})
    assert "Start Docker" in checks["Docker"]["mend"]
    assert [checks[name]["found"] for name in ("pull", "files")] == ["Docker does not answer"] * 2


def test_an_engine_that_hangs_is_not_waited_for_long() -> None:
    """It takes connections and says nothing."""
    with SilentServer() as silent:
        engine = DockerEngine(f"tcp://127.0.0.1:{silent.port}", call_seconds=1)

        assert check_engine(engine).status is Status.FAILED
        engine.close()


@pytest.mark.parametrize(
    ("state", "expected", "found"),
    [
        pytest.param(TWO, "ok", "NVIDIA RTX A5000 (24564 MiB), NVIDIA H100", id="two"),
        pytest.param(f"{TWO}fail nvmlInit_v2 9\n", "failed", "none works", id="broken driver"),
        pytest.param(TWO.replace("8 6 0", "8 6 0 lost"), "failed", "GPU 0: ", id="one lost"),
    ],
)
def test_gpus_are_what_the_driver_shows(tmp_path: Path, state: str, expected: str, found: str) -> None:
    """A driver that is there and does not work fails the check, as does one of two GPUs that is lost."""
    library = ["gcc", "-shared", "-fPIC", "-O1", "-Wl,-soname,libnvidia-ml.so.1", str(SOURCE)]
    subprocess.run([*library, "-o", str(tmp_path / "libnvidia-ml.so.1")], check=True)
    (tmp_path / "state").write_text(state)

    environ = {**os.environ, "LD_LIBRARY_PATH": str(tmp_path), "FAKE_NVML": str(tmp_path / "state")}
    command = [sys.executable, "-c", ASK_GPUS]
    done = subprocess.run(command, env=environ, check=True, capture_output=True, text=True)
    check = json.loads(done.stdout)

    assert (check["status"], found in check["found"]) == (expected, True), check
    assert done.stderr == ""


class GpuEngine:
    """An engine whose containers see ``gpus`` GPUs; it keeps what it was asked to create, and to remove."""

    base_url = "here"

    def __init__(self, gpus: int) -> None:
        self.gpus = gpus
        self.created: list[Any] = []
        self.removed: list[str] = []

    def version(self) -> dict[str, Any]:
        return {"Version": "1"}

    def image_id(self, reference: str) -> str | None:
        return f"sha256:{reference}"

    def local_images(self) -> list[str]:
        return []

    def check_registry(self, image: str) -> None:
        """It is there."""

    def create(self, name: str, config: Mapping[str, Any]) -> str:
        self.created.append(config)
        return "container"

    def start(self, container: str) -> None:
        """It ends at once."""

    def inspect(self, container: str) -> dict[str, Any] | None:
        return {"State": {"Status": "exited", "Running": False, "ExitCode": 0}}

    @contextmanager
    def output(self, container: str) -> Iterator["GpuEngine"]:
        yield self

    def chunks(self) -> Iterator[bytes]:
        said = f"{self.gpus}\n".encode()
        yield b"\1\0\0\0" + len(said).to_bytes(4, "big") + said

    def shutdown(self) -> None:
        """Nothing is open."""

    def listed(self, labels: Mapping[str, str]) -> list[dict[str, Any]]:
        return []

    def remove(self, container: str) -> None:
        self.removed.append(container)


@pytest.mark.parametrize(
    ("seen", "expected"),
    [(2, Status.OK), (3, Status.OK), (1, Status.FAILED), (0, Status.FAILED)],
    ids=["all", "more", "one", "none"],
)
def test_a_container_has_to_see_every_gpu(seen: int, expected: Status) -> None:
    """All of them are asked for, and counted inside; the container is removed. Of split GPUs there may be
    more than is known."""
    engine = GpuEngine(seen)

    check = check_container_gpus(engine, "decode", gpus=2)

    assert (expected, ["container"]) == (check.status, engine.removed)
    wanted = engine.created[0]["HostConfig"]["DeviceRequests"]
    assert wanted == [{"Count": -1, "Capabilities": [["gpu"]]}]


@pytest.mark.parametrize(
    ("runs", "found", "mend"),
    [
        (False, "one is built in, but its driver does not run", "Install the NVIDIA driver."),
        (True, "one is built in and its driver runs, but it is not shown here", NOT_SHOWN),
    ],
    ids=["no driver", "not for us"],
)
def test_a_gpu_that_is_not_shown_fails(tmp_path: Path, runs: bool, found: str, mend: str) -> None:
    """The card is on the bus; the kernel has no driver for it, or has one that shows it to others only."""
    driver = tmp_path / "version"
    if runs:
        driver.write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.159.04\n")
    for name, vendor, kind in (("a", "0x10de", "0x030200"), ("b", "0x8086", "0x030000")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "vendor").write_text(f"{vendor}\n")
        (tmp_path / name / "class").write_text(f"{kind}\n")

    assert check_gpus(lambda: (), tmp_path, driver) == Check("GPU", Status.FAILED, found, mend)


def test_a_worker_starts_with_neither_api_nor_engine(tmp_path: Path) -> None:
    """``run`` does the quick checks, warns of what is away, and waits for it."""
    away = {"RUNNER": "docker", "DOCKER_HOST": f"unix://{tmp_path}/none.sock", "LOG_FORMAT": "json"}
    with WorkerProcess(tmp_path / "base", f"http://127.0.0.1:{free_port()}", **away) as worker:
        worker.start()

        def warned() -> set[str]:
            lines = worker.log.read_text().splitlines() if worker.log.exists() else []
            events = [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]
            return {event["check"] for event in events if event["event"] == "worker.needs-care"}

        until("both warnings", lambda: warned() == {"API", "Docker"})
        until("the wait", lambda: "fetch.postponed" in worker.log.read_text())
        assert worker.stop() == 0
