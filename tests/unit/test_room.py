"""The disk's room: what is free beyond what must stay free, promised to one only."""

from pathlib import Path

import pytest

from jobfetcher.room import Room
from states.errors import JobFailed

MIB = 1024 * 1024


class Disk:
    """A disk with ``free`` bytes left."""

    def __init__(self, free: int) -> None:
        self.free = free

    def __call__(self, path: Path) -> int:
        return self.free


def test_a_job_whose_inputs_do_not_fit_is_refused_with_both_figures() -> None:
    """It is said how much is to come and how much can be had, and why not more."""
    room = Room(Path("/"), least=10 * MIB, free=Disk(14 * MIB))
    with room.claim() as claim:
        claim.portion().left(3 * MIB)
        with pytest.raises(JobFailed) as refused:
            claim.portion().left(2 * MIB)

    assert str(refused.value) == (
        "There is no space left on the worker's disk for the job's inputs: at least 5.0 MiB are still to "
        "come, 4.0 MiB can be had: 10.0 MiB must stay free (MIN_FREE_DISK)."
    )


def test_what_has_been_written_is_not_counted_twice() -> None:
    """The disk has less free by what was written, and the job needs that much less."""
    disk = Disk(10 * MIB)
    room = Room(Path("/"), free=disk)
    with room.claim() as claim:
        first = claim.portion()
        first.left(8 * MIB)
        disk.free -= 6 * MIB
        first.left(2 * MIB)
        claim.portion().left(2 * MIB)

        assert claim.left == 4 * MIB


def test_free_bytes_are_promised_to_one_job_only() -> None:
    """Two jobs that would each fit alone: the second is told of the first; later its place is free again."""
    room = Room(Path("/"), free=Disk(10 * MIB))
    with room.claim() as first, room.claim() as second:
        first.portion().left(6 * MIB)
        with pytest.raises(JobFailed, match=r"6\.0 MiB are promised to downloads under way"):
            second.portion().left(6 * MIB)
    with room.claim() as third:
        third.portion().left(6 * MIB)


def test_promised_bytes_are_not_free_for_the_next_job() -> None:
    """No job is fetched into the space that another one's download is about to fill."""
    disk = Disk(10 * MIB)
    room = Room(Path("/"), least=5 * MIB, free=disk)
    with room.claim() as claim:
        claim.portion().left(4 * MIB)
        enough = room.shortage()
        disk.free = 8 * MIB
        shortage = room.shortage()

    assert (enough, shortage) == (
        "",
        "No space left on the worker's disk: 8.0 MiB are free, 5.0 MiB must stay free (MIN_FREE_DISK), "
        "4.0 MiB are promised to downloads under way.",
    )
