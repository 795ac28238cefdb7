"""Outputs over a raw socket: what goes up, what is left out, and what each refusal means."""

import os
import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jobfetcher.api.errors import ApiError, Forbidden, Invalid, NotFound, ServerError
from jobfetcher.api.retries import Policy
from jobfetcher.stop import StopSignal
from jobfetcher.transfer.job import PATIENCE_SECONDS, JobTransfers
from jobfetcher.transfer.sender import Sick
from jobfetcher.transfer.upload import SetAside, upload_outputs
from states.errors import JobFailed, JobGone, Paused
from states.job import ApiStatus, Job
from states.ports import FileRequest, Resources, StoredFile
from states.spec import FileType, JobSpec
from tests.fake_store import FakeStore
from tests.fake_tools import READABLE
from tests.scripted_server import Reply, ScriptedServer, Seen, always, in_turn

QUICK = Policy(tries=4, first=0.001, limit=0.002)


class FakeApi:
    """Answers ``upload_request`` with the scripted server's URL for the folder; keeps what was asked."""

    def __init__(self, url: str, *planned: Exception, status: ApiError | None = None) -> None:
        self._url = url
        self._planned = list(planned)
        self._status = status
        self.asked: list[tuple[str, str]] = []
        self.statuses = 0
        self.own_name = ""

    def upload_request(self, job_id: str, kind: FileType, base_path: str) -> FileRequest:
        self.asked.append((kind.value, base_path))
        if self._planned:
            raise self._planned.pop(0)
        data = {"key": f"{kind.value}:{base_path}{self.own_name}", "policy": "p"}
        return FileRequest(method="post", url=f"{self._url}/put", headers={"X-Mine": "yes"}, data=data)

    def job_status(self, job_id: str) -> str:
        self.statuses += 1
        if self._status is not None:
            raise self._status
        return "postprocessing"

    def download_request(self, file_id: str) -> FileRequest:
        raise NotImplementedError

    def put_status(self, job_id: str, status: ApiStatus, detail: str = "") -> None:
        raise NotImplementedError

    def fetch_jobs(self, resources: Resources, limit: int = 1) -> list[JobSpec]:
        raise NotImplementedError


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer({"POST /put": always(204)}) as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "job"
    made.mkdir()
    return made


def spec(**files_up: str) -> JobSpec:
    return JobSpec.parse("7", {**READABLE, "handler": {"image_url": "x", "files_up": files_up}})


def write(folder: Path, path: str, content: bytes = b"content") -> Path:
    file = folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    return file


def send(server: ScriptedServer, folder: Path, job: JobSpec, **options: Any) -> tuple[list[StoredFile], str]:
    done: list[StoredFile] = []
    settings: dict[str, Any] = {"policy": QUICK, "on_done": done.append, "inactivity": 30.0, **options}
    tail = upload_outputs(settings.pop("api", None) or FakeApi(server.url), job, folder, **settings)
    return done, tail


def arrived(server: ScriptedServer) -> dict[str, bytes]:
    """``key/file name`` → content of every accepted form."""
    return dict(_form(seen) for seen in server.seen)


def _form(seen: Seen) -> tuple[str, bytes]:
    boundary = seen.headers["content-type"].split("boundary=")[1].encode()
    assert len(seen.body) == int(seen.headers["content-length"])
    *fields, last, end = [part for part in seen.body.split(b"--" + boundary) if part]
    assert end == b"--\r\n"
    head, _, content = last.partition(b"\r\n\r\n")
    name = re.search(rb'name="file"; filename="(.*)"', head)
    assert name is not None
    values = [field.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n").decode() for field in fields]
    return f"{values[0]}/{name[1].decode()}", content.removesuffix(b"\r\n")


def test_the_folder_s_own_name_stays_in_the_path(server: ScriptedServer, folder: Path) -> None:
    """``/files/model/a/b.pt`` goes up as type artifact, base path ``model/a``, file name ``b.pt``."""
    write(folder, "model/a/b.pt", b"weights")
    write(folder, "model/c.pt", b"")
    write(folder, "elsewhere/d", b"not asked for")
    done, _ = send(server, folder, spec(artifact="model"))

    assert arrived(server) == {"artifact:model/a/b.pt": b"weights", "artifact:model/c.pt": b""}
    assert sorted((f.direction, f.kind, f.path, f.size) for f in done) == [
        ("up", "artifact", "model/a/b.pt", 7),
        ("up", "artifact", "model/c.pt", 0),
    ]
    assert {seen.headers["x-mine"] for seen in server.seen} == {"yes"}
    assert all("authorization" not in seen.headers for seen in server.seen)


def test_one_request_serves_all_files_of_a_folder(server: ScriptedServer, folder: Path) -> None:
    """A hundred files in two folders cost two questions to the API, however many threads send them."""
    for number in range(100):
        write(folder, f"out/{number % 2}/f{number}")
    api = FakeApi(server.url)
    done, _ = send(server, folder, spec(output="out"), api=api)

    assert (sorted(api.asked), len(done)) == ([("output", "out/0"), ("output", "out/1")], 100)


def test_the_whole_job_folder_may_go_up(server: ScriptedServer, folder: Path) -> None:
    """``.`` uploads everything; the base path of a file directly in it is empty."""
    write(folder, "a", b"1")
    write(folder, "b/c", b"2")
    send(server, folder, spec(output="."))

    assert arrived(server) == {"output:/a": b"1", "output:b/c": b"2"}


def test_a_folder_of_two_types_goes_up_under_both(server: ScriptedServer, folder: Path) -> None:
    """A folder within another, or the same one twice, is uploaded for each type."""
    write(folder, "out/log/x")
    send(server, folder, spec(output="out", log="out/log"))

    assert sorted(arrived(server)) == ["log:out/log/x", "output:out/log/x"]


def test_nothing_to_upload_is_no_error(server: ScriptedServer, folder: Path) -> None:
    """A missing folder, a file in a folder's place, no folders at all: nothing goes up."""
    write(folder, "file")
    assert send(server, folder, spec(output="missing", artifact="file")) == ([], "")
    assert send(server, folder, spec()) == ([], "")
    assert server.seen == []


@pytest.mark.row(28)
def test_nothing_but_regular_files_goes_up(
    server: ScriptedServer, folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Links to files and folders, FIFOs and sockets are left out and named in the log; none hangs."""
    secret = write(tmp_path, "secret/password")
    write(folder, "out/good")
    (folder / "out/link").symlink_to(secret)
    (folder / "out/folder").symlink_to(secret.parent)
    (folder / "out/broken").symlink_to("nowhere")
    os.mkfifo(folder / "out/fifo")
    here = Path.cwd()
    os.chdir(folder / "out")  # a socket's path may have 107 bytes only
    try:
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind("socket")
    finally:
        os.chdir(here)
    send(server, folder, spec(output="out"))

    assert list(arrived(server)) == ["output:out/good"]
    [record] = [record for record in caplog.records if record.getMessage() == "upload.skipped"]
    expected = ["out/broken", "out/fifo", "out/folder", "out/link", "out/socket"]
    assert record.__dict__["paths"] == expected


@pytest.mark.row(28)
def test_an_output_folder_that_is_a_link_is_not_entered(
    server: ScriptedServer, folder: Path, tmp_path: Path
) -> None:
    """A job cannot have another folder uploaded by a link in its own folder's place."""
    write(tmp_path, "secret/password")
    (folder / "out").symlink_to(tmp_path / "secret")
    (folder / "deep").mkdir()
    (folder / "deep/er").symlink_to(tmp_path)
    assert send(server, folder, spec(output="out", artifact="deep/er/secret")) == ([], "")


@pytest.mark.row(28)
def test_a_deep_tree_goes_up(server: ScriptedServer, folder: Path) -> None:
    """Two hundred folders within each other, with a path longer than the system takes at once."""
    fd = os.open(folder, os.O_RDONLY)
    for name in ["out", *["d" * 30] * 200]:
        os.mkdir(name, dir_fd=fd)
        below = os.open(name, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
    os.close(fd)
    [done], _ = send(server, folder, spec(output="out"))

    assert done.path == "/".join(["out", *["d" * 30] * 200, "file"])


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        pytest.param(b'a"b', "a%22b", id="quote"),
        pytest.param(b"a\nb", "a%0Ab", id="newline"),
        pytest.param("ü #?%20".encode(), "ü #?%20", id="umlaut and signs"),
        pytest.param(b"a\xffb", "a%FFb", id="no UTF-8"),
        pytest.param(b"l" * 255, "l" * 255, id="long"),
    ],
)
def test_every_file_name_is_sendable(server: ScriptedServer, folder: Path, name: bytes, sent: str) -> None:
    """Names are escaped as browsers do it; what is no text is written in percent signs."""
    (folder / "out").mkdir()
    Path(os.fsdecode(bytes(folder / "out") + b"/" + name)).write_bytes(b"x")
    send(server, folder, spec(output="out"))

    assert list(arrived(server)) == [f"output:out/{sent}"]


def test_a_large_file_arrives_as_it_is(server: ScriptedServer, folder: Path) -> None:
    """Several pieces of the body make up the same bytes."""
    content = os.urandom(3_500_001)
    write(folder, "out/big", content)
    send(server, folder, spec(output="out"))

    assert arrived(server) == {"output:out/big": content}


def test_what_is_done_is_not_sent_again(server: ScriptedServer, folder: Path) -> None:
    """Files are known by type and path."""
    write(folder, "out/a")
    write(folder, "out/b")
    done = [StoredFile(direction="up", kind="output", path="out/a", size=7)]
    fresh, _ = send(server, folder, spec(output="out"), done=done)

    assert [file.path for file in fresh] == ["out/b"]


@pytest.mark.parametrize("status", [400, 401, 403])
@pytest.mark.row(27)
def test_a_stale_request_is_asked_for_again(server: ScriptedServer, folder: Path, status: int) -> None:
    """A refused request is replaced by a new one, once; then the job fails with the reason."""
    write(folder, "out/a")
    server.scripts["POST /put"] = in_turn(always(status), always(201))
    api = FakeApi(server.url)
    send(server, folder, spec(output="out"), api=api)
    server.scripts["POST /put"] = always(status, b"<Code>No</Code>")
    with pytest.raises(JobFailed, match=rf"'out/a' cannot be uploaded: the storage refuses it \({status}"):
        send(server, folder, spec(output="out"))

    assert len(api.asked) == 2


@pytest.mark.parametrize(
    ("status", "body"), [(400, b"<Error><Code>EntityTooLarge</Code></Error>"), (413, b"")]
)
@pytest.mark.row(27)
def test_a_file_too_large_fails_the_job(
    server: ScriptedServer, folder: Path, status: int, body: bytes
) -> None:
    """The owner is told the limit; nothing is tried again."""
    write(folder, "out/a")
    server.scripts["POST /put"] = always(status, body)
    with pytest.raises(JobFailed, match="larger than the storage takes"):
        send(server, folder, spec(output="out"))

    assert len(server.seen) == 1


@pytest.mark.row(27)
def test_a_name_too_long_for_s3_fails_the_job_once_all_else_is_there(
    server: ScriptedServer, folder: Path
) -> None:
    """Such a file is never sent; its owner is told its name, and has the other files and the log."""
    api = FakeApi(server.url)
    api.own_name = "/${filename}"
    deep = "/".join(["out", *"ä" * 500])
    write(folder, f"{deep}/b")
    write(folder, f"{deep}/c")
    write(folder, "out/a")
    with pytest.raises(JobFailed, match=r"longer than the 1024 bytes of S3\. So it is with 1 more\."):
        send(server, folder, spec(output="out"), api=api, log=[b"hi"])

    assert sorted(arrived(server)) == ["log:log/${filename}/container.log", "output:out/${filename}/a"]


def test_of_all_that_is_refused_the_outputs_come_first(server: ScriptedServer, folder: Path) -> None:
    """A storage that takes nothing of the job: its owner hears of an output, not only of the log."""
    write(folder, "out/a")
    server.scripts["POST /put"] = always(413)
    with pytest.raises(JobFailed, match=r"'out/a' cannot be uploaded: .* So it is with 1 more\."):
        send(server, folder, spec(output="out"), log=[b"hi"])


def test_what_is_given_up_is_not_overwritten_by_the_log(server: ScriptedServer, folder: Path) -> None:
    """Also a file of the log's name that is not tried any more, and may be there from an earlier try."""
    for number in range(20):
        write(folder, f"out/{number}")
    write(folder, "log/container.log")
    server.scripts["POST /put"] = always(413)
    with pytest.raises(JobFailed, match=r"'out/0' .* So it is with 8 more\."):
        send(server, folder, spec(output="out", log="log"), connections=1, log=[b"hi"])

    assert ["log:log/container-1.log"] == [name for name in arrived(server) if name.startswith("log")]


def test_a_name_as_long_as_s3_takes_goes_up(server: ScriptedServer, folder: Path) -> None:
    """The limit is one of bytes of the whole key."""
    api = FakeApi(server.url)
    api.own_name = "/${filename}"
    path = "out/" + "/".join(["d" * 200] * 5)  # the key begins with "output:"
    write(folder, path + "/" + "f" * (1024 - len(f"output:{path}/")))
    done, _ = send(server, folder, spec(output="out"), api=api)

    assert len(done) == 1


def sick(*names: str) -> Callable[[Reply, Seen], None]:
    """A storage that answers 500 to files of these names, and takes others."""

    def answer(reply: Reply, seen: Seen) -> None:
        reply.answer(500 if any(f'filename="{name}"'.encode() in seen.body for name in names) else 204)

    return answer


@pytest.mark.row(27)
def test_a_file_that_the_storage_cannot_hold_is_set_aside(server: ScriptedServer, folder: Path) -> None:
    """A storage that answers 500 to one file gets the others and the log before the job pauses."""
    for name in ("a", "b", "c"):
        write(folder, f"out/{name}")
    server.scripts["POST /put"] = sick("a")
    done: list[StoredFile] = []
    with pytest.raises(SetAside, match="'out/a' cannot be uploaded now: the storage answers 500") as aside:
        send(server, folder, spec(output="out"), on_done=done.append, connections=1, log=[b"hi"])

    assert (["out/b", "out/c", "log/container.log"], ("out/a",)) == (
        [file.path for file in done],
        aside.value.paths,
    )


def test_a_storage_that_takes_nothing_is_asked_for_few_files(server: ScriptedServer, folder: Path) -> None:
    """That it takes no file proves nothing about any; only some are tried before the job pauses."""
    for number in range(50):
        write(folder, f"out/{number}")
    server.scripts["POST /put"] = always(500)
    with pytest.raises(Paused) as paused:
        send(server, folder, spec(output="out"), connections=1, log=[b"hi"])

    assert (False, 9 * QUICK.tries) == (isinstance(paused.value, SetAside), len(server.seen))


class Patience:
    """One job whose storage is asked again and again, by a clock of its own."""

    def __init__(self, server: ScriptedServer, folder: Path) -> None:
        self.now = 0.0
        self.store = FakeStore()
        self.folder = folder
        self.job: Job = self.store.add(spec(output="out"))
        self.transfers = JobTransfers(FakeApi(server.url), self.store, policy=QUICK, clock=lambda: self.now)
        write(folder, "out/a")

    def after(self, seconds: float) -> type[BaseException] | None:
        """How the try ends that is made so much later."""
        self.now += seconds
        try:
            self.transfers.upload(self.job, self.folder, iter([b"hi"]), StopSignal())
        except (JobFailed, Paused) as end:
            self.said = str(end)
            return type(end)
        return None


@pytest.mark.row(27)
def test_a_file_that_the_storage_cannot_hold_fails_the_job_in_the_end(
    server: ScriptedServer, folder: Path
) -> None:
    """After hours in which the log was taken each time the job ends with a sentence that names the file;
    the log is on record."""
    server.scripts["POST /put"] = sick("a")
    life = Patience(server, folder)

    assert [SetAside, SetAside, JobFailed] == [life.after(s) for s in (0, PATIENCE_SECONDS - 1, 1)]
    assert "The output 'out/a' cannot be uploaded: the storage answers 500" in life.said
    assert ["log/container.log"] == [file.path for file in life.store.files(life.job, "up")]


def test_a_storage_that_is_down_is_waited_for(server: ScriptedServer, folder: Path) -> None:
    """However long it takes nothing; the patience with single files begins anew after that."""
    life = Patience(server, folder)
    server.scripts["POST /put"] = sick("a")
    began = life.after(0)
    server.scripts["POST /put"] = always(500)
    down = [life.after(PATIENCE_SECONDS) for _ in range(5)]
    server.scripts["POST /put"] = sick("a")
    back = life.after(PATIENCE_SECONDS)
    server.scripts["POST /put"] = always(204)

    assert (SetAside, [Sick] * 5, SetAside, None) == (began, down, back, life.after(1))


def test_an_error_of_the_storage_is_tried_again(server: ScriptedServer, folder: Path) -> None:
    """5xx, 429 and a connection that breaks are survived."""
    write(folder, "out/a")

    def hang_up(reply: Reply, seen: Seen) -> None:
        reply.hang_up()

    server.scripts["POST /put"] = in_turn(always(503), hang_up, always(429, Retry_After="0"), always(204))
    done, _ = send(server, folder, spec(output="out"))

    assert (len(done), len(server.seen)) == (1, 4)


def test_a_storage_that_stays_away_pauses_the_job(server: ScriptedServer, folder: Path) -> None:
    """The tries are bounded, and the API was asked whether the job is still there."""
    write(folder, "out/a")
    server.scripts["POST /put"] = always(500)
    api = FakeApi(server.url)
    with pytest.raises(Paused, match="answers 500"):
        send(server, folder, spec(output="out"), api=api)

    assert (len(server.seen), api.statuses) == (QUICK.tries, 2)


@pytest.mark.row(27)
def test_repeated_500_of_a_deleted_job_means_gone(server: ScriptedServer, folder: Path) -> None:
    """The API answers 500 to upload requests of a deleted job: only its status tells."""
    write(folder, "out/a")
    api = FakeApi(server.url, *[ServerError("POST", 500)] * 9, status=NotFound("GET", 404))
    with pytest.raises(JobGone):
        send(server, folder, spec(output="out"), api=api)

    assert (len(api.asked), server.seen) == (3, [])


@pytest.mark.parametrize(
    ("error", "end"),
    [
        pytest.param(Forbidden("POST", 403), Paused, id="our login"),
        pytest.param(Invalid("POST", 422), JobFailed, id="not accepted"),
        pytest.param(ServerError("POST", 500), None, id="once"),
    ],
)
def test_errors_of_the_api(
    server: ScriptedServer, folder: Path, error: ApiError, end: type[Exception] | None
) -> None:
    """What is the login's fault is not the job's; what can never work fails it; else it goes on."""
    write(folder, "out/a")
    api = FakeApi(server.url, error)
    if end is None:
        assert len(send(server, folder, spec(output="out"), api=api)[0]) == 1
    else:
        with pytest.raises(end):
            send(server, folder, spec(output="out"), api=api)


def test_a_stop_ends_a_stalled_upload_at_once(server: ScriptedServer, folder: Path) -> None:
    """A storage that answers nothing does not hold up the end of the job."""
    write(folder, "out/a")
    stop = StopSignal()

    def stall(reply: Reply, seen: Seen) -> None:
        stop.set("gone")
        reply.rfile.read(1)

    server.scripts["POST /put"] = stall
    with pytest.raises(JobGone):
        send(server, folder, spec(output="out"), stop=stop)


def test_the_log_goes_up_last_and_its_end_comes_back(server: ScriptedServer, folder: Path) -> None:
    """The container's log lies in the log folder; its last lines are returned without control characters."""
    write(folder, "logs/own.log")
    pieces = [b"first\n", b"\x1b[31mred\x1b[0m\r50%\r100%\n", "ü\x00 last\n".encode()]
    done, tail = send(server, folder, spec(log="logs"), log=iter(pieces))

    assert arrived(server)["log:logs/container.log"] == b"".join(pieces)
    assert (done[-1].path, done[-1].kind) == ("logs/container.log", "log")
    assert tail == "first\nred\n50%\n100%\nü last"
    assert [path.name for path in folder.parent.iterdir()] == ["job"]


def test_the_log_has_a_place_without_a_log_folder(server: ScriptedServer, folder: Path) -> None:
    """Without a log folder in the specification the log goes up as ``log/container.log``."""
    send(server, folder, spec(), log=iter([b"x"]))

    assert arrived(server) == {"log:log/container.log": b"x"}


def test_the_job_s_own_files_are_not_overwritten_by_the_log(server: ScriptedServer, folder: Path) -> None:
    """A file ``container.log`` of the job keeps its name; ours gets a number. Also when done before."""
    write(folder, "log/container.log", b"own")
    write(folder, "log/container-1.log", b"own too")
    first, _ = send(server, folder, spec(log="log"), log=iter([b"ours"]))
    again, tail = send(server, folder, spec(log="log"), log=iter([b"ours"]), done=first)

    assert arrived(server) == {
        "log:log/container.log": b"own",
        "log:log/container-1.log": b"own too",
        "log:log/container-2.log": b"ours",
    }
    assert (again, tail) == ([], "ours")


@pytest.mark.row(25)
def test_of_a_long_log_the_end_is_kept(server: ScriptedServer, folder: Path) -> None:
    """Disk and upload are bounded by the cap, whatever a job prints."""
    pieces = [f"line {number:06}\n".encode() for number in range(10_000)]
    _, tail = send(server, folder, spec(), log=iter(pieces), log_cap=10_000)

    assert arrived(server)["log:log/container.log"] == b"".join(pieces)[-10_000:]
    assert tail.splitlines() == [f"line {number:06}" for number in range(9_980, 10_000)]


def test_the_log_may_stay_here(server: ScriptedServer, folder: Path) -> None:
    """Without upload of the log its last lines are still returned."""
    assert send(server, folder, spec(), log=iter([b"x\n"]), with_log=False) == ([], "x")
    assert server.seen == []
