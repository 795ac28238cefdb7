"""Brings a job's input files into its folder.

A file is there in whole or not at all: it is written beside the folder, checked, flushed to disk and
then moved. What a broken connection or a crash left is continued, if it is still the same file.
"""

import sys
from collections.abc import Callable, Iterable
from itertools import chain, repeat
from pathlib import Path, PurePosixPath

from jobfetcher.api.retries import NEVER, Policy, RetryingApi
from jobfetcher.failpoints import failpoint
from jobfetcher.progress import Meter, metered
from jobfetcher.room import Claim, Room
from jobfetcher.transfer.batch import SMALL, Batch
from jobfetcher.transfer.course import Course
from jobfetcher.transfer.crew import side_by_side
from jobfetcher.transfer.folders import size_of
from jobfetcher.transfer.gate import Gate
from jobfetcher.transfer.hands import Hands
from jobfetcher.transfer.options import OnDone, Transfer
from jobfetcher.transfer.part import Part, parts_folder, place_all, remove_parts
from jobfetcher.transfer.pool import STALL_SECONDS, Pool
from jobfetcher.transfer.receive import Received, Receiver
from states import paths
from states.errors import JobFailed
from states.ports import Api, Stop, StoredFile
from states.spec import JobSpec

OnProgress = Callable[[str, int], None]
"""Called with a file's path and the number of its bytes that are here."""
GATE_SECONDS = 3.0
"""How long the first files wait for each other's sizes: a slow server must not hold up the others."""


def download_inputs(
    api: Api,
    spec: JobSpec,
    folder: Path,
    *,
    stop: Stop = NEVER,
    connections: int = 8,
    done: Iterable[StoredFile] = (),
    on_done: OnDone = lambda _: None,
    on_progress: OnProgress = lambda _path, _size: None,
    policy: Policy | None = None,
    inactivity: float = STALL_SECONDS,
) -> None:
    """Download every input of the job into ``folder``, over ``connections`` at a time.

    Those that are left without a file receive ranges of the others', if a large one comes slowly.
    Files of ``done`` that are there with their size are left out; ``on_done`` is called, from any
    thread, once a file is safe on disk. ``inactivity`` is the longest silence of a server, in seconds.
    Raises ``JobFailed`` with a sentence if an input cannot be had, and ``Paused`` if it can perhaps be
    had later; then what is there already is continued by the next call.
    """
    transfer = Transfer.telling_each(
        on_done, stop=stop, connections=connections, done=done, policy=policy, inactivity=inactivity
    )
    fetch_inputs(api, spec, folder, transfer, on_progress)


def fetch_inputs(
    api: Api,
    spec: JobSpec,
    folder: Path,
    transfer: Transfer,
    on_progress: OnProgress = lambda _path, _size: None,
    room: Room | None = None,
) -> None:
    """``download_inputs`` with its options as one value.

    ``room`` is the disk that must not be filled (``JobFailed`` if the inputs do not fit); None: no limit.
    """
    wanted = paths.inputs(spec)
    here = _still_here(folder, wanted, transfer.done)
    missing = [(path, file_id) for path, file_id in wanted.items() if str(path) not in here]
    if not missing:
        return remove_parts(folder)
    at_once = min(transfer.connections, len(missing))
    with (
        Pool(transfer.connections, transfer.inactivity) as pool,
        metered("download") as meter,
        (room or Room(folder, free=lambda _: sys.maxsize)).claim() as claim,
    ):
        meter.plan(len(wanted))
        for size in here.values():
            meter.share().found_whole(size)
        inputs = _Inputs(api, folder, transfer, pool, meter, claim, on_progress, Gate(at_once, GATE_SECONDS))
        try:
            inputs.fetch(missing, at_once)
        except JobFailed:
            remove_parts(folder)
            raise
    return remove_parts(folder)


class _Inputs:
    """One job's missing inputs."""

    def __init__(
        self,
        api: Api,
        folder: Path,
        transfer: Transfer,
        pool: Pool,
        meter: Meter,
        claim: Claim,
        on_progress: OnProgress,
        gate: Gate,
    ) -> None:
        self._api = api
        self._folder = folder
        self._transfer = transfer
        self._pool = pool
        self._meter = meter
        self._claim = claim
        self._on_progress = on_progress
        self._gate = gate
        self._batch = Batch(self._settle, transfer.together)
        self._fresh = False

    def fetch(self, missing: list[tuple[PurePosixPath, str]], at_once: int) -> None:
        """Fetch them all, ``at_once`` at a time; those that begin together meet at the gate."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._fresh = not parts_folder(self._folder).exists()
        parts_folder(self._folder).mkdir(exist_ok=True, mode=0o700)
        self._hands = Hands(len(missing), self._transfer.connections - at_once)
        gates = chain(repeat(self._gate, at_once), repeat(None))
        stop, items = self._transfer.stop, zip(missing, gates, strict=False)
        try:
            with stop.interrupts(self._hands.leave):
                side_by_side(self._fetch, items, at_once, stop, self._no_file_left)
        finally:
            self._hands.close()
            self._batch.flush()

    def _no_file_left(self) -> None:
        self._batch.flush()
        self._hands.lend()

    def _fetch(self, item: tuple[tuple[PurePosixPath, str], Gate | None], halt: Stop) -> None:
        try:
            self._fetch_one(*item[0], item[1], halt)
        except BaseException:
            self._hands.leave()  # the first error ends them all
            raise

    def _fetch_one(self, path: PurePosixPath, file_id: str, gate: Gate | None, halt: Stop) -> None:
        course = Course(
            self._meter.share(),
            self._claim.portion(),
            gate,
            lambda size: self._on_progress(str(path), size),
            before_large=self._batch.flush,
        )
        api = RetryingApi.over(self._api, self._transfer.policy, halt)
        receiver = Receiver(api, self._pool, halt, self._hands, self._transfer.terms)
        received = receiver.receive(file_id, Part(self._folder, path.parts, self._fresh), course)
        course.close()  # not if it failed: the others leave the gate by the halt, and receive nothing more
        self._batch.add(received)
        if received.stored.size >= SMALL:
            self._batch.flush()

    def _settle(self, received: list[Received]) -> None:
        """Move them to their places and record them, all at once."""
        place_all(file.part for file in received if not file.placed)
        self._transfer.on_whole([file.stored for file in received])
        for _ in received:
            failpoint("download.recorded")


def _still_here(folder: Path, wanted: dict[PurePosixPath, str], done: Iterable[StoredFile]) -> dict[str, int]:
    """The sizes of those wanted files that are done and still there with that size."""
    sizes = {file.path: file.size for file in done if file.direction == "down"}
    return {
        str(path): sizes[str(path)]
        for path in wanted
        if str(path) in sizes and size_of(folder, path.parts) == sizes[str(path)]
    }
