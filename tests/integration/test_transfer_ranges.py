"""One large input over several connections: when it is, and what a server may do to its ranges."""

import errno
import gzip
import hashlib
import random
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jobfetcher.api.errors import Unreachable
from jobfetcher.progress import Board
from jobfetcher.stop import StopSignal
from jobfetcher.transfer.download import fetch_inputs
from jobfetcher.transfer.options import Transfer
from jobfetcher.transfer.worth import TERMS, Terms
from states.errors import JobFailed, JobGone, Paused
from states.ports import StoredFile
from states.spec import JobSpec
from tests.integration.test_transfer_download import ONE, QUICK, FakeApi, spec
from tests.scripted_server import Reply, Script, ScriptedServer, Seen, always

BODY = random.Random(11).randbytes(6_000_000)
TAG = '"v1"'
SOON = Terms(seconds=0.05, fast=1e12, least=1, worth=0, gain=0, smallest=300_000, largest=300_000)
"""Ranges as soon as one connection has been measured for a moment, and however little they win."""
PATIENCE = 60.0


def helpers() -> list[str]:
    """Threads that one file is not worth, unless it is large."""
    return [thread.name for thread in threading.enumerate() if thread.name in ("transfer-hand", "follower")]


class Storage:
    """A server whose first connection for a file is slow until ranges are asked for (``steady``: throughout).

    ``faults`` answer the first requests for ranges, each one; None: as it should be answered.
    """

    def __init__(
        self, body: bytes, *faults: Script | None, slow: float = 0.005, steady: bool = False, tag: str = TAG
    ) -> None:
        self.body = body
        self.tag = tag
        self.slow = slow
        self.steady = steady
        self.asked = threading.Event()
        """A range was asked for."""
        self.ranges: list[tuple[int, int]] = []
        self._faults = list(faults)
        self._lock = threading.Lock()

    def __call__(self, reply: Reply, seen: Seen) -> None:
        wanted = seen.headers.get("range", "").removeprefix("bytes=")
        first, _, last = wanted.partition("-")
        if not last or seen.headers.get("if-range") != self.tag:
            start = int(first) if first and seen.headers.get("if-range") == self.tag else 0
            self._drip(reply, start)
        else:
            with self._lock:
                self.ranges.append((int(first), int(last) + 1))
                fault = self._faults.pop(0) if self._faults else None
            self.asked.set()
            (fault or self.range)(reply, seen)

    def range(self, reply: Reply, seen: Seen) -> None:
        first, end = span(seen)
        reply.answer(206, self.body[first:end], **self.headers(first, end))

    def headers(self, first: int, end: int) -> dict[str, str]:
        return {"ETag": self.tag, "Content_Range": f"bytes {first}-{end - 1}/{len(self.body)}"}

    def _drip(self, reply: Reply, start: int) -> None:
        length = {"Content_Length": str(len(self.body) - start), "Accept_Ranges": "bytes"}
        if start:
            reply.start(206, **length, **self.headers(start, len(self.body)))
        else:
            reply.start(200, **length, ETag=self.tag)
        for place in range(start, len(self.body), 50_000):
            reply.wfile.write(self.body[place : place + 50_000])
            if self.steady or not self.asked.is_set():
                time.sleep(self.slow)


def span(seen: Seen) -> tuple[int, int]:
    first, _, last = seen.headers["range"].removeprefix("bytes=").partition("-")
    return int(first), int(last) + 1


def fetch(
    server: ScriptedServer, folder: Path, job: JobSpec = ONE, tell: Callable[[str, int], None] | None = None,
    api: FakeApi | None = None, **options: Any,
) -> list[StoredFile]:  # fmt: skip
    whole: list[StoredFile] = []
    settings: dict[str, Any] = {"policy": QUICK, "inactivity": 30.0, "terms": SOON, **options}
    transfer = Transfer(on_whole=whole.extend, **settings)
    fetch_inputs(api or FakeApi(server.url), job, folder, transfer, tell or (lambda _path, _size: None))
    return whole


def assert_right(folder: Path, done: list[StoredFile], body: bytes = BODY) -> None:
    """The file is there, and known by its hash."""
    assert (folder / "data/x.bin").read_bytes() == body
    assert [(file.size, file.sha256) for file in done] == [(len(body), hashlib.sha256(body).hexdigest())]


@pytest.mark.row(6)
def test_a_slow_file_comes_over_several_connections(server: ScriptedServer, folder: Path) -> None:
    """Bounded ranges on condition that it is the same file; one request of the API serves all of them."""
    storage = server.scripts["GET /x"] = Storage(BODY)
    api, told, board = FakeApi(server.url), list[int](), Board()
    with board.of_job(1):
        done = fetch(server, folder, tell=lambda _, size: told.append(size), api=api)

    assert_right(folder, done)
    assert len(storage.ranges) >= 1
    assert max(end - first for first, end in storage.ranges) == SOON.largest
    assert helpers() == []
    assert {seen.headers.get("if-range") for seen in server.seen} == {None, TAG}
    assert api.asked == ["x"]
    assert (sorted(told), told[-1], board.moved()["download"]) == (told, len(BODY), len(BODY))


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"connections": 1}, id="one connection"),
        pytest.param({"terms": TERMS}, id="a file that is soon here"),
    ],
)
def test_otherwise_it_comes_over_one(server: ScriptedServer, folder: Path, options: dict[str, Any]) -> None:
    """One connection in all, or little to win: then no thread is started that could help."""
    started: set[str] = set()
    server.scripts["GET /x"] = Storage(BODY, slow=0.002)
    done = fetch(server, folder, tell=lambda _path, _size: started.update(helpers()), **options)

    assert_right(folder, done)
    assert (len(server.seen), started) == (1, set())


def test_with_a_file_for_each_connection_each_comes_over_one(server: ScriptedServer, folder: Path) -> None:
    """No connection is taken from a file of its own."""
    here = threading.Event()

    def other(reply: Reply, seen: Seen) -> None:
        reply.start(200, Content_Length="4")
        here.wait(PATIENCE)
        reply.wfile.write(b"late")

    def tell(path: str, size: int) -> None:
        if size == len(BODY):
            here.set()

    server.scripts |= {"GET /x": Storage(BODY, slow=0.002), "GET /b": other}
    fetch(server, folder, spec(**{"data/x.bin": "x", "b": "b"}), tell, connections=2)

    assert (len(server.seen), here.is_set()) == (2, True)


def test_two_large_files_share_what_is_left_over(server: ScriptedServer, folder: Path) -> None:
    """Both come over several connections, and each is right."""
    other = random.Random(12).randbytes(5_000_000)
    storages = Storage(BODY, slow=0.02), Storage(other, slow=0.02)
    server.scripts |= {"GET /x": storages[0], "GET /y": storages[1]}
    fetch(server, folder, spec(**{"data/x.bin": "x", "y": "y"}), connections=6)

    assert ((folder / "data/x.bin").read_bytes(), (folder / "y").read_bytes()) == (BODY, other)
    assert [len(storage.ranges) > 0 for storage in storages] == [True, True]


@pytest.mark.parametrize("tag", ['W/"v1"', ""])
def test_a_file_without_a_strong_tag_comes_over_one(server: ScriptedServer, folder: Path, tag: str) -> None:
    """Nothing would say that the ranges are of one version."""
    server.scripts["GET /x"] = Storage(BODY, tag=tag)
    done = fetch(server, folder)

    assert_right(folder, done)
    assert len(server.seen) == 1


def test_where_more_connections_win_nothing_one_goes_on_alone(
    server: ScriptedServer, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As on a line that one connection fills: the others end with the range that they have."""

    def slowly(reply: Reply, seen: Seen) -> None:
        first, end = span(seen)
        reply.start(206, Content_Length=str(end - first), **storage.headers(first, end))
        for place in range(first, end, 30_000):
            reply.wfile.write(BODY[place : min(end, place + 30_000)])
            time.sleep(0 if "download.alone-again" in caplog.messages else 0.02)

    storage = server.scripts["GET /x"] = Storage(BODY, *[slowly] * 1000, slow=0.01, steady=True)
    with caplog.at_level("INFO"):
        done = fetch(server, folder, terms=replace(SOON, gain=1e9, smallest=100_000, largest=100_000))

    assert_right(folder, done)
    assert "download.alone-again" in caplog.messages


def test_files_that_wait_come_first(server: ScriptedServer, folder: Path) -> None:
    """Ranges are asked for once the last file has been begun."""
    files = {f"f{number}": f"f{number}" for number in range(20)}
    storage = server.scripts["GET /x"] = Storage(BODY)
    server.otherwise = lambda reply, seen: reply.answer(200, seen.path.encode() * 100_000)
    fetch(server, folder, spec(**{"data/x.bin": "x"}, **files), connections=3)
    order = ["range" if "range" in seen.headers else seen.path for seen in server.seen]

    assert (folder / "data/x.bin").read_bytes() == BODY
    assert len(storage.ranges) >= 1
    assert "range" not in order[:20]


def other_start(reply: Reply, seen: Seen) -> None:
    first, end = span(seen)
    headers = {"ETag": TAG, "Content_Range": f"bytes {first + 1}-{end - 1}/{len(BODY)}"}
    reply.answer(206, BODY[first + 1 : end], **headers)


def other_total(reply: Reply, seen: Seen) -> None:
    first, end = span(seen)
    reply.answer(
        206, b"?" * (end - first), ETag=TAG, Content_Range=f"bytes {first}-{end - 1}/{len(BODY) - 1}"
    )


def other_tag(reply: Reply, seen: Seen) -> None:
    first, end = span(seen)
    reply.answer(206, b"?" * (end - first), ETag='"v2"', Content_Range=f"bytes {first}-{end - 1}/{len(BODY)}")


def no_tag(reply: Reply, seen: Seen) -> None:
    first, end = span(seen)
    reply.answer(206, b"?" * (end - first), Content_Range=f"bytes {first}-{end - 1}/{len(BODY)}")


def shorter(reply: Reply, seen: Seen) -> None:
    first, end = span(seen)
    end -= (end - first) // 2
    reply.answer(206, BODY[first:end], ETag=TAG, Content_Range=f"bytes {first}-{end - 1}/{len(BODY)}")


def longer(reply: Reply, seen: Seen) -> None:
    first, end = span(seen)
    more = BODY[first:end] + b"?" * 1000
    reply.answer(206, more, ETag=TAG, Content_Range=f"bytes {first}-{end - 1}/{len(BODY)}")


def cut_short(reply: Reply, seen: Seen) -> None:
    first, end = span(seen)
    content = f"bytes {first}-{end - 1}/{len(BODY)}"
    reply.start(206, Content_Length=str(end - first), ETag=TAG, Content_Range=content)
    reply.wfile.write(BODY[first : first + 70_000])
    reply.hang_up()


def hang_up(reply: Reply, seen: Seen) -> None:
    reply.hang_up()


def encoded(reply: Reply, seen: Seen) -> None:
    first, end = span(seen)
    content = f"bytes {first}-{end - 1}/{len(BODY)}"
    body = gzip.compress(b"?" * (end - first))
    reply.answer(206, body, ETag=TAG, Content_Range=content, Content_Encoding="gzip")


FAULTS = {
    "Range is ignored": always(200, BODY, ETag=TAG),
    "another version": always(200, b"new" * 1000, ETag='"v2"'),
    "another tag": other_tag,
    "no tag": no_tag,
    "another start": other_start,
    "another total": other_total,
    "a part of it": shorter,
    "more than it": longer,
    "cut short": cut_short,
    "hung up": hang_up,
    "encoded": encoded,
    "400": always(400),
    "403": always(403),
    "404": always(404),
    "416": always(416, Content_Range=f"bytes */{len(BODY)}"),
    "416 with another total": always(416, Content_Range="bytes */300000"),
    "500": always(500),
    "503": always(503),
}


@pytest.mark.parametrize("often", [1, 1000], ids=["once", "always"])
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.row(6)
def test_whatever_a_server_does_to_ranges_the_bytes_are_right(
    server: ScriptedServer, folder: Path, fault: str, often: int
) -> None:
    """The first connection brings the file all the same; what the others are given counts only if it fits."""
    server.scripts["GET /x"] = Storage(BODY, *[FAULTS[fault]] * often)
    done = fetch(server, folder)

    assert_right(folder, done)


def begin(reply: Reply, count: int, until: threading.Event) -> None:
    """The first bytes of the whole, slowly; the connection breaks at that moment."""
    reply.start(200, Content_Length=str(len(BODY)), ETag=TAG, Accept_Ranges="bytes")
    for place in range(0, count, 50_000):
        reply.wfile.write(BODY[place : place + 50_000])
        time.sleep(0.005)
    until.wait(PATIENCE)
    reply.hang_up()


@pytest.mark.parametrize(
    ("last", "end"),
    [
        pytest.param(always(404), JobFailed, id="404"),
        pytest.param(always(403), JobFailed, id="403"),
        pytest.param(always(500), JobFailed, id="500"),
        pytest.param(always(503), Paused, id="503"),
        pytest.param(hang_up, Paused, id="hung up"),
    ],
)
def test_a_storage_that_fails_for_good_ends_as_with_one_connection(
    server: ScriptedServer, folder: Path, last: Script, end: type[Exception]
) -> None:
    """In the middle of its ranges, each refusal means for the job what it always means."""
    storage = Storage(BODY)

    def fails(reply: Reply, seen: Seen) -> None:
        if "range" not in seen.headers:
            begin(reply, 1_000_000, storage.asked)
        elif len(storage.ranges) >= 3:
            last(reply, seen)
        else:
            storage(reply, seen)

    server.scripts["GET /x"] = fails
    with pytest.raises(end):
        fetch(server, folder)


@pytest.mark.row(6)
def test_a_file_that_changes_under_its_ranges_begins_anew(server: ScriptedServer, folder: Path) -> None:
    """The first connection breaks, and what comes from then on is of another version: only that is kept."""
    new, old = b"new" * 900_000, Storage(BODY)
    fresh = Storage(new, tag='"v2"')
    changed = threading.Event()

    def script(reply: Reply, seen: Seen) -> None:
        if len(old.ranges) >= 6:
            changed.set()
        if changed.is_set():
            fresh(reply, seen)
        elif "range" in seen.headers:
            old(reply, seen)
        else:
            begin(reply, 1_000_000, changed)

    server.scripts["GET /x"] = script
    done = fetch(server, folder)

    assert_right(folder, done, new)


def test_a_url_that_expires_is_asked_for_again_once_for_all(server: ScriptedServer, folder: Path) -> None:
    """All connections are refused at the same time; they share one new request."""
    storage = Storage(BODY)
    refused: list[int] = []

    class Expiring(FakeApi):
        def download_request(self, file_id: str) -> Any:
            request = super().download_request(file_id)
            return request.model_copy(update={"url": f"{request.url}?{len(self.asked)}"})

    def script(reply: Reply, seen: Seen) -> None:
        if seen.path.endswith("?1") and len(storage.ranges) >= 3:
            refused.append(1)
            reply.answer(403)
        else:
            storage(reply, seen)

    server.scripts["GET /x"] = script
    api = Expiring(server.url)
    done = fetch(server, folder, api=api)

    assert_right(folder, done)
    assert (len(refused) > 0, api.asked) == (True, ["x", "x"])


def test_an_api_that_is_down_meanwhile_costs_only_the_ranges(server: ScriptedServer, folder: Path) -> None:
    """Ranges are refused and no new request is to be had: the connection that stands brings the file."""

    class Down(FakeApi):
        def download_request(self, file_id: str) -> Any:
            request = super().download_request(file_id)
            if len(self.asked) > 1:
                raise Unreachable("GET /files", "down", sent=False)
            return request

    server.scripts["GET /x"] = Storage(BODY, *[always(403)] * 1000)
    api = Down(server.url)
    done = fetch(server, folder, api=api)

    assert_right(folder, done)
    assert len(api.asked) > 1


def test_a_disk_that_is_full_under_a_range_fails_the_job(server: ScriptedServer, folder: Path) -> None:
    """Whichever thread finds out, it is told as ever, and nothing goes on."""

    def full(path: str, size: int) -> None:
        if threading.current_thread().name == "transfer-hand":
            raise OSError(errno.ENOSPC, "full")

    server.scripts["GET /x"] = Storage(BODY)
    with pytest.raises(JobFailed, match="no space left"):
        fetch(server, folder, tell=full)

    assert helpers() == []


@pytest.mark.parametrize("some", [0, 100_000])
def test_a_silent_range_does_not_hold_up_the_file(server: ScriptedServer, folder: Path, some: int) -> None:
    """It is taken away long before its connection would count as stalled, and another one brings the rest."""
    ended = threading.Event()

    def silent(reply: Reply, seen: Seen) -> None:
        first, end = span(seen)
        content = f"bytes {first}-{end - 1}/{len(BODY)}"
        reply.start(206, Content_Length=str(end - first), ETag=TAG, Content_Range=content)
        reply.wfile.write(BODY[first : first + some])
        reply.rfile.read(1)  # until the connection is cut
        ended.set()

    server.scripts["GET /x"] = Storage(BODY, silent)
    done = fetch(server, folder, inactivity=1000.0)

    assert_right(folder, done)
    assert ended.wait(PATIENCE)


def test_a_stop_cuts_all_connections_at_once(server: ScriptedServer, folder: Path) -> None:
    """A job that is gone does not wait for ranges of which nothing comes."""
    stop, lock = StopSignal(), threading.Lock()
    silent: list[threading.Event] = []

    def never(reply: Reply, seen: Seen) -> None:
        cut = threading.Event()
        with lock:
            silent.append(cut)
            if len(silent) == 4:
                stop.set("gone")
        reply.rfile.read(1)
        cut.set()

    server.scripts["GET /x"] = Storage(BODY, *[never] * 4)
    with pytest.raises(JobGone):
        fetch(server, folder, stop=stop, connections=5, inactivity=1000.0, terms=PATIENT)

    assert all(cut.wait(PATIENCE) for cut in silent)
    assert helpers() == []


PATIENT = Terms(seconds=0.05, fast=1e12, least=1, worth=0, gain=0, smallest=1_000_000, largest=1_000_000)


@pytest.mark.row(6)
def test_the_next_process_goes_on_behind_the_front(server: ScriptedServer, folder: Path) -> None:
    """What lies behind a hole is fetched again; what lies before it is not, and no hole is kept."""
    storage = Storage(BODY)

    def first_life(reply: Reply, seen: Seen) -> None:
        if "range" not in seen.headers:
            begin(reply, 1_500_000, storage.asked)
        elif len(storage.ranges) < 8:
            storage(reply, seen)
        else:
            reply.answer(503)

    server.scripts["GET /x"] = first_life
    with pytest.raises(Paused):
        fetch(server, folder)
    server.seen.clear()
    server.scripts["GET /x"] = Storage(BODY)
    done = fetch(server, folder)

    assert_right(folder, done)
    assert int(server.seen[0].headers["range"].removeprefix("bytes=").removesuffix("-")) > 0
