"""Inputs over a raw socket: what is continued, what is believed, what ends the job."""

import errno
import gzip
import hashlib
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from jobfetcher.api.errors import NotFound, ServerError
from jobfetcher.api.retries import Policy
from jobfetcher.stop import StopSignal
from jobfetcher.transfer.download import download_inputs
from jobfetcher.transfer.part import parts_folder
from states.errors import JobFailed, JobGone, Paused
from states.job import ApiStatus
from states.ports import FileRequest, Resources, StoredFile
from states.spec import FileType, JobSpec
from tests.fake_tools import READABLE
from tests.scripted_server import Reply, Script, ScriptedServer, Seen, always, in_turn

BODY = os.urandom(3_000_000)
QUICK = Policy(tries=3, first=0.001, limit=0.002)
TAG = '"v1"'


class FakeApi:
    """Answers ``download_request`` with the scripted server's URL; counts how often it was asked."""

    def __init__(self, url: str, *planned: Exception) -> None:
        self._url = url
        self._planned = list(planned)
        self.asked: list[str] = []

    def download_request(self, file_id: str) -> FileRequest:
        self.asked.append(file_id)
        if self._planned:
            raise self._planned.pop(0)
        return FileRequest(method="get", url=f"{self._url}/{file_id}", headers={"X-Mine": "yes"})

    def upload_request(self, job_id: str, kind: FileType, base_path: str) -> FileRequest:
        raise NotImplementedError

    def job_status(self, job_id: str) -> str:
        raise NotImplementedError

    def put_status(self, job_id: str, status: ApiStatus, detail: str = "") -> None:
        raise NotImplementedError

    def fetch_jobs(self, resources: Resources, limit: int = 1) -> list[JobSpec]:
        raise NotImplementedError


def spec(**files_down: str) -> JobSpec:
    handler = {"image_url": "x", "files_down": files_down}
    return JobSpec.parse("7", {**READABLE, "handler": handler})


ONE = JobSpec.parse("7", {**READABLE, "handler": {"image_url": "x", "files_down": {"data/x.bin": "x"}}})


def fetch(server: ScriptedServer, job: JobSpec, folder: Path, **options: Any) -> list[StoredFile]:
    done: list[StoredFile] = []
    settings: dict[str, Any] = {"policy": QUICK, "on_done": done.append, "inactivity": 30.0, **options}
    download_inputs(settings.pop("api", None) or FakeApi(server.url), job, folder, **settings)
    return done


def ranged(body: bytes, tag: str = TAG) -> Script:
    """A server that keeps to RFC 9110: Range if If-Range holds, else the whole."""

    def script(reply: Reply, seen: Seen) -> None:
        start = _wanted(seen, tag)
        if start is None:
            return reply.answer(200, body, ETag=tag)
        if start >= len(body):
            return reply.answer(416, b"", Content_Range=f"bytes */{len(body)}")
        span = f"bytes {start}-{len(body) - 1}/{len(body)}"
        return reply.answer(206, body[start:], ETag=tag, Content_Range=span)

    return script


def _wanted(seen: Seen, tag: str) -> int | None:
    if "range" not in seen.headers or seen.headers.get("if-range") != tag:
        return None
    return int(seen.headers["range"].removeprefix("bytes=").removesuffix("-"))


def cut(body: bytes, after: int, tag: str = TAG) -> Script:
    """Announces the whole, sends a part."""

    def script(reply: Reply, seen: Seen) -> None:
        reply.start(200, Content_Length=str(len(body)), ETag=tag)
        reply.wfile.write(body[:after])
        reply.hang_up()

    return script


def left_over(folder: Path) -> bool:
    return parts_folder(folder).exists()


def test_a_file_is_there_in_whole_and_known_by_its_hash(server: ScriptedServer, folder: Path) -> None:
    """The file lies under its path, is reported with size and SHA-256, and nothing else is left."""
    server.scripts["GET /x"] = ranged(BODY)
    [done] = fetch(server, ONE, folder)

    digest = hashlib.sha256(BODY).hexdigest()
    assert (done.kind, done.path, done.size, done.sha256) == ("input", "data/x.bin", len(BODY), digest)
    assert (folder / "data/x.bin").read_bytes() == BODY
    assert not left_over(folder)
    [seen] = server.seen
    assert (seen.headers["x-mine"], seen.headers["accept-encoding"]) == ("yes", "identity")
    assert "authorization" not in seen.headers


def test_many_files_arrive_side_by_side(server: ScriptedServer, folder: Path) -> None:
    """Every file is fetched once, whatever the number of connections."""
    files = {f"d{n % 7}/f {n} #ü": f"f{n}" for n in range(200)}
    server.otherwise = lambda reply, seen: reply.answer(200, seen.path.encode() * 10)
    done = fetch(server, spec(**files), folder)

    expected = {path: f"/{file_id}".encode() * 10 for path, file_id in files.items()}
    assert {path: (folder / path).read_bytes() for path in files} == expected
    assert (len(done), len(server.seen)) == (200, 200)


def test_an_empty_file_and_a_dotted_name_and_a_long_name(server: ScriptedServer, folder: Path) -> None:
    """``config/.`` is the file ``config``; a name of 255 bytes is no problem; nor is an empty file."""
    server.otherwise = always(200, b"")
    fetch(server, spec(**{"config/.": "a", "l" * 255: "b"}), folder)

    assert sorted(path.name for path in folder.iterdir()) == ["config", "l" * 255]


@pytest.mark.row(6)
def test_a_broken_download_is_continued(server: ScriptedServer, folder: Path) -> None:
    """After a short body the rest is asked for, on condition that it is the same file."""
    server.scripts["GET /x"] = in_turn(cut(BODY, 2_000_000), ranged(BODY))
    fetch(server, ONE, folder)

    assert (folder / "data/x.bin").read_bytes() == BODY
    second = server.seen[1].headers
    assert (second["range"], second["if-range"]) == ("bytes=2000000-", TAG)


def test_bytes_that_arrive_count_as_progress(server: ScriptedServer, folder: Path) -> None:
    """A connection that breaks often, but each time a little later, brings the file all the same."""

    def a_little(reply: Reply, seen: Seen) -> None:
        start = _wanted(seen, TAG) or 0
        status = 206 if start else 200
        span = f"bytes {start}-{len(BODY) - 1}/{len(BODY)}"
        reply.start(status, Content_Length=str(len(BODY) - start), ETag=TAG, Content_Range=span)
        reply.wfile.write(BODY[start : start + 300_000])
        reply.hang_up()

    server.scripts["GET /x"] = a_little
    fetch(server, ONE, folder)

    assert (folder / "data/x.bin").read_bytes() == BODY


@pytest.mark.parametrize(
    "second",
    [
        pytest.param(ranged(b"new" * 100, '"v2"'), id="another version"),
        pytest.param(always(200, b"new" * 100), id="Range is ignored"),
        pytest.param(in_turn(always(416), always(200, b"new" * 100)), id="416"),
        pytest.param(
            in_turn(always(206, b"x", Content_Range="bytes 5-5/300"), always(200, b"new" * 100)),
            id="another range",
        ),
    ],
)
@pytest.mark.row(6)
def test_what_cannot_be_continued_begins_anew(server: ScriptedServer, folder: Path, second: Script) -> None:
    """Parts of two versions are never put together."""
    server.scripts["GET /x"] = in_turn(cut(BODY, 2_000_000), second)
    fetch(server, ONE, folder)

    assert (folder / "data/x.bin").read_bytes() == b"new" * 100


def test_a_weak_tag_continues_nothing(server: ScriptedServer, folder: Path) -> None:
    """A weak ETag does not promise equal bytes: the file is asked for from its beginning."""
    server.scripts["GET /x"] = in_turn(cut(BODY, 2_000_000, 'W/"v1"'), ranged(BODY))
    fetch(server, ONE, folder)

    assert "range" not in server.seen[1].headers
    assert (folder / "data/x.bin").read_bytes() == BODY


def test_a_file_that_always_breaks_at_one_place_is_given_up(server: ScriptedServer, folder: Path) -> None:
    """Beginning anew and getting just as far again is no progress: the tries are bounded."""
    server.scripts["GET /x"] = cut(BODY, 2_000_000, "")
    with pytest.raises(Paused):
        fetch(server, ONE, folder)

    assert len(server.seen) == QUICK.tries


def test_the_next_process_continues(server: ScriptedServer, folder: Path) -> None:
    """What one process received, the next one does not ask for again."""
    server.scripts["GET /x"] = in_turn(cut(BODY, 2_000_000), always(503))
    with pytest.raises(Paused):
        fetch(server, ONE, folder)
    server.seen.clear()
    server.scripts["GET /x"] = ranged(BODY)
    [done] = fetch(server, ONE, folder)

    assert server.seen[0].headers["range"] == "bytes=2000000-"
    assert done.sha256 == hashlib.sha256(BODY).hexdigest()


def crash(*_: Any) -> None:
    raise RuntimeError("crash")


def test_a_file_in_its_place_that_was_not_recorded_is_not_fetched_again(
    server: ScriptedServer, folder: Path
) -> None:
    """A crash between the move and the record costs nothing: the file is known to be whole."""
    server.scripts["GET /x"] = ranged(BODY)
    with pytest.raises(RuntimeError):
        fetch(server, ONE, folder, on_done=crash)
    [done] = fetch(server, ONE, folder)

    assert (len(server.seen), done.sha256) == (1, hashlib.sha256(BODY).hexdigest())


def test_a_file_that_had_arrived_before_the_crash_is_taken(server: ScriptedServer, folder: Path) -> None:
    """All bytes here but not yet in place: the 416 that says so is no error."""
    server.scripts["GET /x"] = ranged(BODY)

    def crash_at_the_end(path: str, size: int) -> None:
        if size == len(BODY):
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fetch(server, ONE, folder, on_progress=crash_at_the_end)
    fetch(server, ONE, folder)

    assert (folder / "data/x.bin").read_bytes() == BODY
    assert server.seen[1].headers["range"] == f"bytes={len(BODY)}-"


def test_done_files_are_left_alone_unless_they_are_gone(server: ScriptedServer, folder: Path) -> None:
    """A recorded file is skipped if it is there with its size, and fetched again if not."""
    server.scripts["GET /x"] = ranged(BODY)
    done = fetch(server, ONE, folder)
    again = fetch(server, ONE, folder, done=done)
    (folder / "data/x.bin").unlink()
    anew = fetch(server, ONE, folder, done=done)

    assert (len(again), len(anew), len(server.seen)) == (0, 1, 2)


@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        pytest.param(always(404), r"'data/x.bin' cannot .*: the server says it is not there", id="404"),
        pytest.param(always(403), r"refuses it \(403\)", id="403"),
        pytest.param(always(400, b"<Code>ExpiredToken</Code>"), r"refuses it \(400\)", id="expired twice"),
        pytest.param(always(405), r"answers 405", id="405"),
        pytest.param(always(500), r"answers 500 to it again and again", id="a folder"),
    ],
)
@pytest.mark.row(7)
def test_an_input_that_cannot_be_had_fails_the_job(
    server: ScriptedServer, folder: Path, script: Script, sentence: str
) -> None:
    """The job's owner is told which input it is and why; what was begun is removed."""
    server.scripts["GET /x"] = script
    with pytest.raises(JobFailed, match=sentence):
        fetch(server, ONE, folder)

    assert not left_over(folder)


@pytest.mark.parametrize("refusal", [always(403), always(401), always(400, b"<Code>ExpiredToken</Code>")])
@pytest.mark.row(7)
def test_a_stale_url_is_asked_for_again(server: ScriptedServer, folder: Path, refusal: Script) -> None:
    """A refused URL is replaced by a new one, once."""
    server.scripts["GET /x"] = in_turn(refusal, ranged(BODY))
    api = FakeApi(server.url)
    fetch(server, ONE, folder, api=api)

    assert api.asked == ["x", "x"]


@pytest.mark.parametrize("status", [429, 502, 503])
def test_a_storage_that_is_away_pauses_the_job(server: ScriptedServer, folder: Path, status: int) -> None:
    """What may work later is tried some times, then left for later; the job does not fail."""
    server.scripts["GET /x"] = always(status)
    with pytest.raises(Paused, match=str(status)):
        fetch(server, ONE, folder)

    assert len(server.seen) == QUICK.tries


def test_an_api_that_is_away_pauses_the_job(server: ScriptedServer, folder: Path) -> None:
    """5xx of the API itself is never the job's fault."""
    api = FakeApi(server.url, *[ServerError("GET", 500)] * 9)
    with pytest.raises(Paused):
        fetch(server, ONE, folder, api=api)


def test_an_input_that_the_api_does_not_know_fails_the_job(server: ScriptedServer, folder: Path) -> None:
    """404 for the file's URL is about the input, not about the job."""
    with pytest.raises(JobFailed, match="not there"):
        fetch(server, ONE, folder, api=FakeApi(server.url, NotFound("GET", 404)))


def test_the_first_error_ends_the_other_downloads(server: ScriptedServer, folder: Path) -> None:
    """One missing input ends a download that would take for ever."""
    begun = threading.Event()

    def endless(reply: Reply, seen: Seen) -> None:
        reply.start(200, Content_Length="1000000")
        begun.set()
        reply.rfile.read(1)

    def missing(reply: Reply, seen: Seen) -> None:
        begun.wait(30)
        reply.answer(404)

    server.scripts |= {"GET /slow": endless, "GET /gone": missing}
    with pytest.raises(JobFailed, match="'b'"):
        fetch(server, spec(a="slow", b="gone"), folder)


@pytest.mark.parametrize("headers_first", [True, False])
def test_a_stop_ends_a_stalled_read_at_once(
    server: ScriptedServer, folder: Path, headers_first: bool
) -> None:
    """A server that says nothing more does not hold up the end of the job."""
    stop = StopSignal()

    def stall(reply: Reply, seen: Seen) -> None:
        if headers_first:
            reply.start(200, Content_Length="100")
        stop.set("gone")
        reply.rfile.read(1)

    server.scripts["GET /x"] = stall
    with pytest.raises(JobGone):
        fetch(server, ONE, folder, stop=stop)


def test_a_silent_server_is_left_after_the_inactivity_time(server: ScriptedServer, folder: Path) -> None:
    """A stalled connection is replaced by another one."""

    def stall(reply: Reply, seen: Seen) -> None:
        reply.start(200, Content_Length=str(len(BODY)), ETag=TAG)
        reply.wfile.write(BODY[:1_500_000])
        reply.rfile.read(1)

    server.scripts["GET /x"] = in_turn(stall, ranged(BODY))
    fetch(server, ONE, folder, inactivity=0.3)

    assert (folder / "data/x.bin").read_bytes() == BODY


@pytest.mark.row(8)
def test_no_link_in_the_job_s_folder_is_followed(
    server: ScriptedServer, folder: Path, tmp_path: Path
) -> None:
    """A link where a folder should be ends the job; nothing is written where it points."""
    outside = tmp_path / "outside"
    outside.mkdir()
    folder.mkdir(parents=True)
    (folder / "data").symlink_to(outside)
    server.scripts["GET /x"] = ranged(BODY)
    with pytest.raises(JobFailed, match="something else is in its place"):
        fetch(server, ONE, folder)

    assert list(outside.iterdir()) == []


def test_a_link_in_the_file_s_own_place_is_replaced(
    server: ScriptedServer, folder: Path, tmp_path: Path
) -> None:
    """The link goes, its target stays as it was."""
    target = tmp_path / "target"
    target.write_text("mine")
    (folder / "data").mkdir(parents=True)
    (folder / "data/x.bin").symlink_to(target)
    server.scripts["GET /x"] = ranged(BODY)
    fetch(server, ONE, folder)

    assert (target.read_text(), (folder / "data/x.bin").is_symlink()) == ("mine", False)


@pytest.mark.row(8)
def test_paths_that_climb_out_are_refused_before_anything_is_asked(
    server: ScriptedServer, folder: Path
) -> None:
    """``..`` fails the job, and no folder is made."""
    with pytest.raises(JobFailed, match="climbs out"):
        fetch(server, spec(**{"../x": "x"}), folder)

    assert (server.seen, folder.exists()) == ([], False)


def test_content_that_is_stored_encoded_arrives_decoded(server: ScriptedServer, folder: Path) -> None:
    """A gzip body that came in spite of what was asked is unpacked, as other clients would."""
    server.scripts["GET /x"] = always(200, gzip.compress(BODY), Content_Encoding="gzip", ETag=TAG)
    fetch(server, ONE, folder)

    assert (folder / "data/x.bin").read_bytes() == BODY


def test_a_redirect_to_another_host_carries_no_login(server: ScriptedServer, folder: Path) -> None:
    """Authorization stays with the host that it is for."""

    class WithLogin(FakeApi):
        def download_request(self, file_id: str) -> FileRequest:
            headers = {"Authorization": "Bearer secret"}
            return super().download_request(file_id).model_copy(update={"headers": headers})

    with ScriptedServer() as other:
        other.scripts["GET /there"] = always(200, b"found")
        server.scripts["GET /x"] = always(307, Location=f"{other.url}/there")
        fetch(server, ONE, folder, api=WithLogin(server.url))

        assert [seen.headers.get("authorization") for seen in other.seen] == [None]
    assert server.seen[0].headers["authorization"] == "Bearer secret"


def test_a_job_without_inputs_asks_for_nothing(server: ScriptedServer, folder: Path) -> None:
    """No files: nothing to do, and nothing made."""
    assert (fetch(server, spec(), folder), server.seen) == ([], [])


@pytest.mark.parametrize("error", ["ENOSPC", "EDQUOT"])
@pytest.mark.row(9)
def test_a_full_disk_fails_the_job_and_frees_what_was_begun(
    server: ScriptedServer, folder: Path, error: str
) -> None:
    """The owner is told that the worker's disk is full; the partial file is removed."""
    server.scripts["GET /x"] = ranged(BODY)

    def full(path: str, size: int) -> None:
        raise OSError(getattr(errno, error), "full")

    with pytest.raises(JobFailed, match="no space left on the worker's disk"):
        fetch(server, ONE, folder, on_progress=full)

    assert not left_over(folder)
