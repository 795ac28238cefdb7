"""The small parts of the transfers: the crew, the form, the log's spool."""

import errno
import os
import socket
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobfetcher.api.retries import NEVER
from jobfetcher.api.stretch import Shrunk, Stretch
from jobfetcher.stop import StopSignal
from jobfetcher.transfer.crew import side_by_side
from jobfetcher.transfer.multipart import Multipart
from jobfetcher.transfer.spool import Spool
from jobfetcher.transfer.tree import readable
from states.errors import JobGone
from states.ports import Stop
from tests.properties import calm


def test_a_crew_does_every_item_once() -> None:
    """However many threads there are, each item is taken by one of them."""
    done: list[int] = []
    side_by_side(lambda item, stop: done.append(item), range(500), 8, NEVER)

    assert sorted(done) == list(range(500))


def test_the_first_error_of_a_crew_is_raised_and_ends_the_others() -> None:
    """The others wake from their sleep, and what they raise then is not the error that is told."""
    asleep = threading.Event()

    def work(item: int, stop: Stop) -> None:
        if item:
            asleep.wait(30)
            raise KeyError(item)
        asleep.set()
        if stop.wait(60):
            stop.check()

    with pytest.raises(KeyError):
        side_by_side(work, range(2), 2, NEVER)


def test_a_stop_ends_a_crew_with_its_own_error() -> None:
    """A job that is gone while files move ends as gone; what can be interrupted is."""
    stop = StopSignal()
    woken = threading.Event()

    def work(item: int, halt: Stop) -> None:
        with halt.interrupts(woken.set):
            stop.set("gone")
            woken.wait(30)
        with halt.interrupts(lambda: done.append("late")):
            halt.check()

    done: list[str] = []
    with pytest.raises(JobGone):
        side_by_side(work, [1], 1, stop)

    assert (woken.is_set(), done) == (True, ["late"])


def a_file(folder: Path, content: bytes) -> int:
    path = folder / "file"
    path.write_bytes(content)
    return os.open(path, os.O_RDWR)


def whole(form: Multipart) -> bytes:
    """What arrives if the form is sent."""
    ours, theirs = socket.socketpair()
    arrived: list[bytes] = []
    with ThreadPoolExecutor(1) as beside, theirs:
        reading = beside.submit(lambda: arrived.extend(iter(lambda: theirs.recv(1 << 20), b"")))
        with ours:
            for piece in form:
                piece.send(ours) if isinstance(piece, Stretch) else ours.sendall(piece)
        reading.result()
    return b"".join(arrived)


@pytest.mark.parametrize("size", [1, 7, 300_000, 2_500_000])
def test_a_form_is_as_long_as_it_says(tmp_path: Path, size: int) -> None:
    """Fields first, the file last, whether it is short or long; spans follow one another."""
    fd = a_file(tmp_path, b"0" * size + b"1" * 6 * size)
    heard: list[int] = []
    try:
        spans = [(fd, 5 * size, 2 * size), (fd, 0, size), (fd, 0, 0)]
        form = Multipart({"key": "ü", 'a"b': ""}, "n\nm", spans, heard.append)
        body = whole(form)
    finally:
        os.close(fd)

    boundary = form.content_type.split("boundary=")[1]
    lines = [
        f"--{boundary}",
        'Content-Disposition: form-data; name="key"',
        "",
        "ü",
        f"--{boundary}",
        'Content-Disposition: form-data; name="a%22b"',
        "",
        "",
        f"--{boundary}",
        'Content-Disposition: form-data; name="file"; filename="n%0Am"',
        "Content-Type: application/octet-stream",
        "",
        "1" * 2 * size + "0" * size,
        f"--{boundary}--",
        "",
    ]
    assert body.decode().split("\r\n") == lines
    assert len(body) == form.length
    assert heard[-1] == 3 * size


def test_what_a_file_grows_by_is_left_out(tmp_path: Path) -> None:
    """The announced length holds while the file grows."""
    fd = a_file(tmp_path, b"12345")
    try:
        form = Multipart({}, "n", [(fd, 0, 5)])
        os.pwrite(fd, b"more", 5)
        assert len(whole(form)) == form.length
    finally:
        os.close(fd)


@pytest.mark.parametrize("size", [5, 3_000_000])
def test_a_file_that_shrinks_is_noticed(tmp_path: Path, size: int) -> None:
    """A body that could not be as long as announced is broken off."""
    fd = a_file(tmp_path, b"1" * size)
    try:
        form = Multipart({}, "n", [(fd, 0, size)])
        os.ftruncate(fd, size // 2)
        with pytest.raises(Shrunk):
            whole(form)
    finally:
        os.close(fd)


def kept(spool: Spool) -> bytes:
    return b"".join(os.pread(fd, length, offset) for fd, offset, length in spool.spans())


@calm
@given(st.lists(st.binary(max_size=30), max_size=20), st.integers(1, 40))
def test_a_spool_keeps_exactly_the_end(pieces: list[bytes], cap: int) -> None:
    """Whatever the pieces: the last ``cap`` bytes, in order; so is the file that stays."""
    with tempfile.TemporaryDirectory() as folder:
        with Spool(Path(folder) / "x.log", cap, stays=True) as spool:
            spool.take(pieces, NEVER)
            found = kept(spool)
        left = {file.name: file.read_bytes() for file in Path(folder).iterdir()}

    everything = b"".join(pieces)
    assert found == everything[-cap:]
    assert left == {"x.log": everything[-cap:]}
    assert spool.lost == max(0, len(everything) - cap)


def test_a_spool_ends_with_the_stop(tmp_path: Path) -> None:
    """A log that never ends does not hold up the end of the job; the file is removed."""
    stop = StopSignal()
    stop.set("gone")
    with Spool(tmp_path / "x.log") as spool, pytest.raises(JobGone):
        spool.take(iter([b"x"]), stop)

    assert list(tmp_path.iterdir()) == []


def test_last_lines_are_short_and_clean(tmp_path: Path) -> None:
    """At most 20 lines and 3000 characters; no escapes, no control characters, no broken text."""
    lines = [f"\x1b[1;31m{'x' * 400} {number}\x1b[0m\x07\r\n".encode() for number in range(50)]
    with Spool(tmp_path / "x.log") as spool:
        spool.take([*lines, b"\xff\xfe end\n\n"], NEVER)
        tail = spool.last_lines()

    assert len(tail) == 3000
    assert tail.splitlines()[-2:] == ["x" * 400 + " 49", "\ufffd\ufffd end"]
    assert "\x1b" not in tail


@pytest.mark.parametrize(
    ("name", "shown"), [("plain ü", "plain ü"), (os.fsdecode(b"a\xff\xc3b"), "a%FF%C3b"), ("%41", "%41")]
)
def test_names_that_are_no_text_become_text(name: str, shown: str) -> None:
    """Only bytes that are not UTF-8 are written in percent signs."""
    assert readable(name) == shown


class FullSpool(Spool):
    """A spool on a disk that takes ``room`` bytes."""

    room = 8

    def _store(self, piece: memoryview, place: int) -> int:
        if place >= self.room:
            raise OSError(errno.ENOSPC, "full")
        return super()._store(piece[: self.room - place], place)


@pytest.mark.parametrize(("room", "expected"), [(8, b"89abcdef"), (0, b"")])
@pytest.mark.row(9)
def test_on_a_full_disk_the_end_of_the_log_is_kept(tmp_path: Path, room: int, expected: bytes) -> None:
    """The log uses the space that it got; the job does not fail for it."""
    with FullSpool(tmp_path / "x.log") as spool:
        spool.room = room
        spool.take([b"0123456789abcdef"], NEVER)

        assert (kept(spool), spool.last_lines()) == (expected, "0123456789abcdef")


def test_importing_the_public_calls_loads_nothing_heavy() -> None:
    """A cloud function that moves files pays for no engine, database or machine."""
    heavy = ("docker", "sqlalchemy", "transitions", "boto3", "botocore", "pynvml", "pydantic_settings")
    code = "import sys, jobfetcher.api.client, jobfetcher.transfer\n"
    code += f"print([name for name in {heavy} if name in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert ran.stdout == "[]\n"
