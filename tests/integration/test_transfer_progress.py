"""Transfers tell how far they are; inputs that cannot fit are refused before their bodies are written."""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from jobfetcher.progress import Board
from jobfetcher.room import Room
from jobfetcher.transfer.download import OnProgress, download_inputs, fetch_inputs
from jobfetcher.transfer.options import Transfer
from jobfetcher.transfer.part import parts_folder
from jobfetcher.transfer.upload import Log, send_outputs
from states.errors import JobFailed, Paused
from states.ports import StoredFile
from states.spec import JobSpec
from tests.integration.test_transfer_download import BODY, ONE, QUICK, FakeApi, cut, ranged, spec
from tests.integration.test_transfer_upload import FakeApi as UploadApi
from tests.integration.test_transfer_upload import spec as upload_spec
from tests.scripted_server import Reply, ScriptedServer, always, in_turn
from tests.scripted_server import Seen as Request

MIB = 1024 * 1024


def _nobody(path: str, size: int) -> None:
    """Nobody wants to know."""


class Seen(Board):
    """A board that keeps what was on it each time a file was done."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[dict[str, Any]] = []

    def note(self, _: Sequence[StoredFile]) -> None:
        self.seen.append(self.readings()[1][0])

    def last(self) -> tuple[Any, ...]:
        """Phase, bytes here, bytes in all, files whole, files in all."""
        names = ("phase", "done", "total", "files", "files_total")
        return tuple(self.seen[-1][name] for name in names)


def download(
    server: ScriptedServer, job: JobSpec, folder: Path, room: Room | None = None, tell: OnProgress = _nobody,
    done: Sequence[StoredFile] = (),
) -> Seen:  # fmt: skip
    board = Seen()
    transfer = Transfer(policy=QUICK, inactivity=30.0, done=done, on_whole=board.note)
    with board.of_job(1):
        fetch_inputs(FakeApi(server.url), job, folder, transfer, tell, room)
    return board


def test_a_download_is_measured_to_its_last_byte(server: ScriptedServer, folder: Path) -> None:
    """Bytes and files; the board is empty again afterwards."""
    server.otherwise = always(200, b"x" * 1000)
    board = download(server, spec(a="1", b="2", c="3"), folder)

    assert board.last() == ("download", 3000, 3000, 3, 3)
    assert not board.busy()


def test_a_download_that_breaks_counts_each_byte_once(server: ScriptedServer, folder: Path) -> None:
    """What is continued goes on from where it was; what begins anew begins at nothing."""
    server.scripts["GET /x"] = in_turn(
        cut(BODY, 2_000_000), cut(BODY, 1_500_000, '"v2"'), ranged(BODY, '"v2"')
    )
    board = download(server, ONE, folder)

    assert board.last() == ("download", len(BODY), len(BODY), 1, 1)


def test_the_next_process_does_not_count_as_moved_what_was_there(
    server: ScriptedServer, folder: Path
) -> None:
    """A recorded file and a part of another one: both are done, neither has a rate."""
    both = spec(**{"whole": "w", "data/x.bin": "x"})
    server.scripts |= {
        "GET /w": always(200, b"w" * 500),
        "GET /x": in_turn(cut(BODY, 2_000_000), always(503)),
    }
    done: list[StoredFile] = []
    with pytest.raises(Paused):
        download_inputs(FakeApi(server.url), both, folder, policy=QUICK, on_done=done.append)
    server.scripts["GET /x"] = ranged(BODY)
    board = download(server, both, folder, done=done)

    assert board.last() == ("download", len(BODY) + 500, len(BODY) + 500, 2, 2)
    with board.of_job(1):  # nothing is left to do, and nothing is shown
        download_inputs(FakeApi(server.url), both, folder, done=[*done, board_file(BODY)])


def board_file(body: bytes) -> StoredFile:
    return StoredFile(direction="down", kind="input", path="data/x.bin", size=len(body))


def test_an_upload_is_measured_with_its_log(folder: Path) -> None:
    """Outputs are counted before the first of them moves; a retry counts no byte twice."""
    (folder / "out/deep").mkdir(parents=True)
    (folder / "out/a").write_bytes(b"a" * 700)
    (folder / "out/deep/b").write_bytes(b"b" * 50)
    board = Seen()
    transfer = Transfer(connections=1, policy=QUICK, on_whole=board.note)
    with ScriptedServer({"POST /put": in_turn(always(503), always(204))}) as server, board.of_job(1):
        send_outputs(UploadApi(server.url), upload_spec(output="out"), folder, transfer, Log([b"log"]))

    assert [(one["done"], one["total"], one["files"]) for one in board.seen] == [(750, 750, 2), (753, 753, 3)]


def test_what_was_uploaded_before_counts_as_done(folder: Path) -> None:
    """After a crash the meter begins where the last one ended."""
    (folder / "out").mkdir(parents=True)
    for name in ("a", "b"):
        (folder / "out" / name).write_bytes(b"x" * 100)
    before = StoredFile(direction="up", kind="output", path="out/a", size=100)
    board = Seen()
    transfer = Transfer(done=[before], on_whole=board.note)
    with ScriptedServer({"POST /put": always(204)}) as server, board.of_job(1):
        send_outputs(UploadApi(server.url), upload_spec(output="out"), folder, transfer)

    assert board.last() == ("upload", 200, 200, 2, 2)


def disk(free: int) -> Room:
    """A disk on which ``free`` bytes may be used."""
    return Room(Path("/"), least=10 * MIB, free=lambda _: free + 10 * MIB)


@pytest.mark.row(9)
def test_a_file_that_does_not_fit_is_refused_before_its_body(server: ScriptedServer, folder: Path) -> None:
    """From the size that the answer's headers tell; what was begun is removed."""
    written: list[int] = []
    server.scripts["GET /x"] = ranged(BODY)
    with pytest.raises(JobFailed, match=r"at least 2\.9 MiB are still to come, 2\.0 MiB can be had"):
        download(server, ONE, folder, room=disk(2 * MIB), tell=lambda _, size: written.append(size))

    assert (written, parts_folder(folder).exists(), len(server.seen)) == ([], False, 1)


def test_files_that_fit_alone_but_not_together_are_refused_before_any_body(
    server: ScriptedServer, folder: Path
) -> None:
    """Files that begin together tell their sizes before a byte of a large one is written."""
    written: list[int] = []
    second_asked = threading.Event()

    def slow(reply: Reply, seen: Request) -> None:
        second_asked.wait(30)
        ranged(BODY)(reply, seen)

    def other(reply: Reply, seen: Request) -> None:
        second_asked.set()
        ranged(BODY)(reply, seen)

    server.scripts |= {"GET /1": slow, "GET /2": other}
    with pytest.raises(JobFailed, match=r"at least 5\.7 MiB are still to come, 4\.0 MiB can be had"):
        download(
            server, spec(a="1", b="2"), folder,
            room=disk(4 * MIB), tell=lambda _, size: written.append(size),
        )  # fmt: skip

    assert written == []


def test_a_server_that_says_nothing_of_one_file_does_not_hold_up_the_others(
    server: ScriptedServer, folder: Path
) -> None:
    """The files wait for each other's sizes for a moment only."""
    first_here = threading.Event()

    def silent(reply: Reply, seen: Request) -> None:
        first_here.wait(60)
        reply.answer(200, b"late")

    def told(path: str, size: int) -> None:
        if (path, size) == ("a", len(BODY)):
            first_here.set()

    server.scripts |= {"GET /1": ranged(BODY), "GET /2": silent}
    board = download(server, spec(a="1", b="2"), folder, tell=told)

    assert board.last()[1] == len(BODY) + 4


def test_what_is_on_the_disk_already_needs_no_room(server: ScriptedServer, folder: Path) -> None:
    """A download goes on after a crash, though the whole file would not fit a second time."""
    server.scripts["GET /x"] = in_turn(cut(BODY, 2_000_000), always(503))
    with pytest.raises(Paused):
        download(server, ONE, folder)
    server.scripts["GET /x"] = ranged(BODY)
    board = download(server, ONE, folder, room=disk(len(BODY) - 2_000_000))

    assert board.last()[1] == len(BODY)


def test_a_size_that_is_not_told_refuses_nothing(server: ScriptedServer, folder: Path) -> None:
    """Without Content-Length there is nothing to go by: the disk itself decides."""

    def chunked(reply: Reply, seen: Request) -> None:
        reply.start(200, Transfer_Encoding="chunked")
        reply.wfile.write(b"5\r\nhello\r\n0\r\n\r\n")

    server.scripts["GET /x"] = chunked
    board = download(server, ONE, folder, room=disk(0))

    assert board.last() == ("download", 5, 5, 1, 1)
