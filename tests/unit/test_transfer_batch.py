"""Many small files at once, and the hash of a large one beside its transfer."""

import hashlib
import threading
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobfetcher.transfer.batch import COUNT, SECONDS, SMALL, Batch
from jobfetcher.transfer.digest import Digest
from tests.properties import calm


@dataclass
class Clock:
    """Seconds, as the test sets them."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


def test_items_are_finished_by_the_dozen() -> None:
    """As soon as there are enough, and the rest when asked to."""
    done: list[list[int]] = []
    batch = Batch(done.append)
    for number in range(COUNT + 3):
        batch.add(number)
    before = list(done)
    batch.flush()
    batch.flush()

    assert [list(range(COUNT))] == before
    assert done[1:] == [[COUNT, COUNT + 1, COUNT + 2]]


def test_no_item_waits_long_while_others_come() -> None:
    """The one that comes after half a second takes the others along."""
    done: list[list[str]] = []
    clock = Clock()
    batch = Batch(done.append, clock=clock)
    batch.add("a")
    clock.now += SECONDS
    batch.add("b")
    batch.add("c")

    assert done == [["a", "b"]]


def test_what_could_not_be_finished_is_not_tried_again_by_others() -> None:
    """Its error goes to the thread that brought the last item; the job's next try does it anew."""
    tried: list[list[int]] = []

    def fails(items: list[int]) -> None:
        tried.append(items)
        raise OSError("full")

    batch = Batch(fails, count=2)
    batch.add(1)
    with pytest.raises(OSError, match="full"):
        batch.add(2)
    batch.flush()

    assert tried == [[1, 2]]


def test_threads_lose_no_item() -> None:
    """Each item is finished once, whichever thread does it, and never by two at a time."""
    done: list[int] = []
    inside = threading.Lock()

    def finish(items: list[int]) -> None:
        assert inside.acquire(blocking=False)
        done.extend(items)
        inside.release()

    batch = Batch(finish, count=7)

    def bring(first: int) -> None:
        for number in range(first, first + 500):
            batch.add(number)

    threads = [threading.Thread(target=bring, args=(500 * k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    batch.flush()

    assert sorted(done) == list(range(2000))


@calm
@given(st.lists(st.integers(0, SMALL), max_size=6), st.integers(0, 6))
def test_a_digest_is_that_of_all_pieces(sizes: list[int], asked_after: int) -> None:
    """Small or large, asked in the middle or only at the end."""
    pieces = [bytes([number]) * size for number, size in enumerate(sizes)]
    digest = Digest()
    seen = []
    for number, piece in enumerate(pieces):
        if number == asked_after:
            seen.append((digest.hexdigest(), hashlib.sha256(b"".join(pieces[:number])).hexdigest()))
        digest.update(piece)
    seen.append((digest.hexdigest(), hashlib.sha256(b"".join(pieces)).hexdigest()))

    assert [left for left, _ in seen] == [right for _, right in seen]


def test_a_digest_that_is_given_up_leaves_no_thread() -> None:
    """A transfer that breaks ends its hashing too."""
    before = threading.active_count()
    digest = Digest()
    for _ in range(3):
        digest.update(bytes(SMALL))
    digest.close()
    digest.close()

    assert threading.active_count() == before
