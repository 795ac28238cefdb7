"""One file in ranges, without any network: whatever happens to them, no hole is ever taken for data."""

import hashlib
import os
import random
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from jobfetcher.api.retries import NEVER
from jobfetcher.transfer.digest import Digest
from jobfetcher.transfer.follower import Follower
from jobfetcher.transfer.gaps import Gaps, Range
from jobfetcher.transfer.hands import Hands
from jobfetcher.transfer.part import Part, parts_folder
from jobfetcher.transfer.ranges import AHEAD, Ranges
from jobfetcher.transfer.worth import TERMS, Pace, Terms
from tests.properties import calm

MIB = 1024 * 1024
BODY = random.Random(7).randbytes(60_000)
TAG = '"v1"'
EAGER = Terms(
    seconds=1, fast=1e12, least=1, worth=0, gain=0, piece_seconds=4, smallest=1000, largest=4000, unseen=0
)
"""Ranges of a few bytes, as soon as a second has passed."""


class Told:
    """Stands for the course: keeps what it was told."""

    def __init__(self) -> None:
        self.heard: list[int] = []

    def answered(self, size: int | None, here: int, stop: object) -> None:
        self.heard.append(here)

    def at(self, here: int) -> None:
        self.heard.append(here)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class EagerPart(Part):
    """Notes its front whenever it has moved; knows what a power cut would leave."""

    pause = 0.0
    on_disk = b""

    def _sync(self) -> None:
        super()._sync()
        self.on_disk = self.file.read_bytes()

    def _write_note(self, noted: dict[str, Any], flush: bool = False) -> None:
        front = noted.get("front", 0)
        assert self.on_disk[:front] == BODY[:front]
        super()._write_note(noted, flush)


class Alone(Ranges):
    """For one thread: who is waited for gives up."""

    def _pause(self) -> None:
        for taken in [taken for taken in self._taken if taken.hand]:
            self._take_away(taken)


class Waiting(Ranges):
    """Who waits sees time pass; not for ever."""

    def _pause(self) -> None:
        clock: Any = self._clock
        clock.now += 1
        assert clock.now < 100


class Life:
    """One process that receives the file, with as many threads as one likes; time passes with each piece."""

    def __init__(
        self, folder: Path, willing: int = 7, kind: type[Ranges] = Alone, terms: Terms = EAGER
    ) -> None:
        self.part = EagerPart(folder, ["x"])
        self.part.__enter__()
        self.begun_with = self.part.size
        self.clock, self.told, self.called = Clock(), Told(), 0
        course: Any = self.told
        self.ranges = kind(self.part, course, NEVER, lambda: willing, self.call, terms, self.clock)
        self.taken: list[tuple[Range, BytesIO]] = []
        """Each with the body that comes for it."""

    def call(self) -> None:
        self.called += 1

    def take(self, hand: bool) -> None:
        """Take a range; the file's own thread, if it has none, is answered with all that follows."""
        own = any(not taken.hand for taken, _ in self.taken)
        if (own and not hand) or (taken := self.ranges.take(hand)) is None:
            return
        if hand:
            taken.limit = taken.end
        else:
            if not self.part.etag:
                self.ranges.restart(taken, TAG)
            self.ranges.answered(taken, len(BODY), taken.end or len(BODY), allowed=True)
        self.taken.append((taken, BytesIO(BODY[taken.place : taken.limit])))

    def receive(self, which: int, count: int) -> None:
        """So many bytes come for one of the ranges."""
        if self.taken:
            taken, body = self.taken[which % len(self.taken)]
            self.clock.now += 0.7
            assert self.clock.now < 20_000, "it comes to no end"
            self.ranges.write(taken, body.read(count))
            if taken.done:
                self.give_back(which, blame=False)

    def give_back(self, which: int, blame: bool) -> None:
        if self.taken:
            taken, _ = self.taken.pop(which % len(self.taken))
            self.ranges.give_back(taken, blame)

    def begin(self) -> None:
        """The first bytes come over one connection; that is found to be slow."""
        self.take(hand=False)
        for _ in range(2):
            self.receive(0, 1000)

    def die(self) -> None:
        """As by SIGKILL: what was written stays, nothing more is noted."""
        self.part.close()

    def finish(self) -> str:
        """The rest, in order."""
        while not self.ranges.whole:
            self.clock.now += 31  # nobody is kept waiting by a range that was taken away or refused
            assert self.clock.now < 20_000, "it comes to no end"
            self.take(hand=False)
            while self.taken:
                self.receive(0, 5000)
        return self.part.finish()


TAKE = st.tuples(st.just("take"), st.sampled_from([True, True, False]))
RECEIVE = st.tuples(st.just("receive"), st.integers(0, 7), st.integers(1, 3000))
GIVE_BACK = st.tuples(st.just("give_back"), st.integers(0, 7), st.booleans())
LIVES = st.lists(st.lists(st.one_of(TAKE, RECEIVE, RECEIVE, GIVE_BACK), min_size=8, max_size=30), max_size=3)
"""What happens in each life of the process; all but the last end by SIGKILL."""


@settings(calm, max_examples=40, phases=[Phase.generate])
@given(LIVES)
def test_whatever_becomes_of_the_ranges_the_bytes_are_right(lives: list[list[tuple[Any, ...]]]) -> None:
    """Taken, broken off, taken away, the process killed, in any order: the file is right or unfinished.

    What is told of it never goes back while the process lives; a life begins with no more than was here.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "job"
        parts_folder(folder).mkdir()
        for actions in lives:
            life = Life(folder)
            before = life.part.file.read_bytes()
            life.begin()
            for action, *values in actions:
                getattr(life, action)(*values)
            life.die()

            assert BODY[: len(before)] == before
            assert max(life.told.heard) <= len(BODY)
            assert sorted(life.told.heard) == life.told.heard
        life = Life(folder)
        digest = life.finish()
        life.die()

        assert life.part.file.read_bytes() == BODY
        assert digest == hashlib.sha256(BODY).hexdigest()


def test_after_a_death_amid_ranges_one_connection_gets_on_as_ever(tmp_path: Path) -> None:
    """Its own deaths cost nothing of what it had brought."""
    with begun(tmp_path / "job"):
        pass
    alone = Life(tmp_path / "job", willing=0)
    alone.take(hand=False)
    alone.receive(0, 20_000)
    alone.die()
    last = Life(tmp_path / "job")
    last.die()

    assert last.begun_with == alone.begun_with + 20_000


def test_what_began_anew_is_not_taken_for_the_old_version(tmp_path: Path) -> None:
    """After a death right then nothing is continued: what is here is no part of what the note was about."""
    with begun(tmp_path / "job") as life:
        own = life.taken[0][0]
        life.ranges.restart(own, '"v2"')
        life.ranges.write(own, b"new")
    last = Life(tmp_path / "job")
    last.die()

    assert (last.begun_with, last.part.etag) == (0, "")


@contextmanager
def begun(folder: Path, **more: Any) -> Iterator[Life]:
    """A life whose file has shown to be slow, and is shared out."""
    parts_folder(folder).mkdir()
    life = Life(folder, **more)
    life.begin()
    yield life
    life.ranges.close()
    life.die()


def test_ranges_are_given_out_in_order_and_become_smaller(tmp_path: Path) -> None:
    """The lowest first; towards the end more of them, so that all end together."""
    with begun(tmp_path / "job") as life:
        taken = [found for _ in range(20) if (found := life.ranges.take(hand=True))]
    starts = [one.start for one in taken]
    sizes = [(one.end or 0) - one.start for one in taken]

    assert life.called == 1
    assert sorted(starts) == starts
    assert sorted(sizes, reverse=True) == sizes
    assert (EAGER.largest, EAGER.smallest) == (sizes[0], sizes[-2])


def test_nobody_runs_far_ahead(tmp_path: Path) -> None:
    """A crash costs a bounded number of ranges, however long one connection is silent."""
    with begun(tmp_path / "job", terms=replace(EAGER, largest=1000)) as life:
        while (taken := life.ranges.take(hand=True)) is not None:
            assert taken.start - life.part.size <= AHEAD * 1000
            life.ranges.write(taken, BODY[taken.start : taken.end])
            life.ranges.give_back(taken)


def test_nothing_is_given_out_without_anybody_to_take_it(tmp_path: Path) -> None:
    """With all connections at work on files of their own, a file stays one range."""
    with begun(tmp_path / "job", willing=0) as life:
        life.give_back(0, blame=False)

        assert (life.called, life.ranges.take(hand=True)) == (0, None)


def test_a_range_that_was_taken_away_writes_no_more(tmp_path: Path) -> None:
    """When the file begins anew, nothing of the old version comes into it."""
    with begun(tmp_path / "job") as life:
        other = life.ranges.take(hand=True)
        assert other is not None
        life.ranges.restart(life.taken[0][0], '"v2"')
        life.ranges.write(other, b"old")
        life.ranges.give_back(other)

        assert (other.halt.is_set(), life.part.file.read_bytes(), life.ranges.received) == (True, b"", 0)
        assert life.ranges.take(hand=True) is None


def test_a_slow_range_is_taken_away_when_somebody_waits_for_it(tmp_path: Path) -> None:
    """What is left of it is for the one that waited, and its connection is cut."""
    with begun(tmp_path / "job") as life:
        first, slow = life.ranges.take(hand=True), life.ranges.take(hand=True)
        assert first is not None
        assert slow is not None
        whole(life, first)
        while life.taken:
            life.receive(0, 1000)
        while (taken := life.ranges.take(hand=True)) is not None:
            whole(life, taken)
        again = life.ranges.take()

        assert again is not None
        assert (slow.lost, slow.halt.is_set(), again.start) == (True, True, slow.start)


def test_one_that_waits_for_a_silent_range_takes_it(tmp_path: Path) -> None:
    """The first connection has what follows, and need not be left for it."""
    with begun(tmp_path / "job", kind=Waiting) as life:
        silent = life.ranges.take(hand=True)
        assert silent is not None
        while not silent.lost:
            life.receive(0, 1000)
        own = life.taken[0][0]

        assert (own.lost, own.place >= silent.start) == (False, True)


def test_a_server_that_is_slow_to_begin_is_waited_for(tmp_path: Path) -> None:
    """Ranges are not taken away for ever before their first byte: one connection has the time it needs."""
    with begun(tmp_path / "job") as life:
        for _ in range(3):
            while life.ranges.take(hand=True):
                pass
            life.clock.now += 3
            life.ranges.take(hand=True)
        own = life.ranges.take()
        life.clock.now += 3

        assert own is not None
        assert (life.ranges.take(hand=True), own.lost) == (None, False)


def test_an_error_in_another_thread_is_raised_in_the_file_s_own(tmp_path: Path) -> None:
    """Also if nothing is left to receive; whatever is received ends at once."""
    with begun(tmp_path / "job") as life:
        own, other = life.taken[0][0], life.ranges.take(hand=True)
        assert other is not None
        life.ranges.fail(OSError("no more room"))
        life.ranges.give_back(other)

        assert (own.halt.is_set(), other.halt.is_set(), life.ranges.take()) == (True, True, None)
        with pytest.raises(OSError, match="no more room"):
            assert life.ranges.whole


def test_an_answer_that_ends_before_it_begins_has_no_bytes() -> None:
    """Whatever its body has."""
    taken = Range(100, 200, NEVER, 0.0)
    taken.limit = 99

    assert taken.fitting(b"abc") == b""


def whole(life: Life, taken: Range) -> None:
    """All of a range comes, in two seconds."""
    life.clock.now += 2
    life.ranges.write(taken, BODY[taken.start : taken.end])
    life.ranges.give_back(taken)


def test_a_server_that_refuses_ranges_is_left_alone_for_a_while(tmp_path: Path) -> None:
    """Three in a row that brought nothing: the file's own connection goes on by itself."""
    with begun(tmp_path / "job") as life:
        for _ in range(3):
            taken = life.ranges.take(hand=True)
            assert taken is not None
            life.ranges.give_back(taken, blame=True)
        now = life.ranges.take(hand=True)
        life.clock.now += 60
        later = life.ranges.take(hand=True)

        assert (now, later is not None) == (None, True)


@pytest.mark.parametrize(
    ("rate", "left", "pays"),
    [
        pytest.param(20 * MIB, 2048 * MIB, True, id="a long link"),
        pytest.param(20 * MIB, 100 * MIB, False, id="soon over"),
        pytest.param(1 * MIB, 20 * MIB, False, id="little is left"),
        pytest.param(400 * MIB, 100_000 * MIB, False, id="a fast link"),
    ],
)
def test_ranges_are_for_large_files_over_slow_connections(rate: float, left: int, pays: bool) -> None:
    """More connections cost something: they must save several seconds."""
    assert TERMS.pay(rate, left) is pays


def test_connections_that_win_nothing_are_given_up_for_a_while() -> None:
    """Judged by the second measurement with them; and anew when they are tried again."""
    slow, quick = Pace(TERMS), Pace(TERMS)
    for pace in (slow, quick):
        pace.spread(10.0)

    assert [slow.disappoints(now, rate) for now, rate in enumerate((1, 12, 8))] == [False, True, False]
    assert [quick.disappoints(now, rate) for now, rate in enumerate((1, 13, 1))] == [False, False, False]
    assert (slow.wanted(100), slow.wanted(1000), quick.wanted(2)) == (False, True, True)
    assert [slow.disappoints(1000 + now, rate) for now, rate in enumerate((11, 11))] == [False, False]


def test_if_all_become_slow_none_is_slow() -> None:
    """What is usual follows what is measured."""
    pace = Pace(EAGER)
    pace.spread(100.0)
    judged = [pace.slow(10.0, seconds=3) for _ in range(20)]

    assert (judged[0], judged[-1], pace.slow(0.0, seconds=1)) == (True, False, False)


def test_over_a_slow_line_a_range_has_time_for_its_first_bytes() -> None:
    """They are seen many at a time: until then it only seems to be silent."""
    pace = Pace(TERMS)
    pace.spread(100_000.0)

    assert [pace.slow(0.0, seconds) for seconds in (3, 9, 12)] == [False, False, True]


@calm
@given(st.lists(st.integers(0, 30), min_size=2, max_size=12, unique=True), st.randoms())
def test_gaps_that_touch_are_one(cuts: list[int], shuffled: random.Random) -> None:
    """Whatever the order in which the pieces of a stretch come back."""
    cuts.sort()
    pieces = list(pairwise(cuts))
    shuffled.shuffle(pieces)
    gaps = Gaps()
    for start, end in pieces:
        gaps.add(start, end)
    gaps.add(40, None)
    gaps.add(35, 35)

    assert [gaps.pop(), gaps.pop(), bool(gaps)] == [(cuts[0], cuts[-1]), (40, None), False]


class Busy:
    """A file with a range for each thread; they are at it until told otherwise."""

    shared = 1

    def __init__(self, threads: int) -> None:
        self.begun = threading.Barrier(threads + 1)
        self.go_on = threading.Event()
        self.ended: list[str] = []

    def lend(self) -> bool:
        self.begun.wait(60)
        self.go_on.wait(60)
        self.ended.append(threading.current_thread().name)
        return True


def test_hands_begin_with_the_first_offer_and_are_gone_at_the_end() -> None:
    """None before, all at the first, none more at the second; none stays behind."""
    hands, busy = Hands(files=1, spare=3), Busy(threads=3)
    before = threading.active_count()
    hands.offer(busy)
    hands.offer(busy)
    busy.begun.wait(60)
    during = threading.active_count()
    later = threading.Timer(0.2, busy.go_on.set)
    later.start()
    hands.close()
    later.join()

    assert (during - before, busy.ended) == (3, ["transfer-hand"] * 3)


def test_what_goes_wrong_behind_the_front_is_raised(tmp_path: Path) -> None:
    """A disk that cannot be read back, or takes no note, ends the download."""
    fd = os.open(tmp_path / "x", os.O_RDWR | os.O_CREAT)
    follower = Follower(fd, Digest(), 0, note=lambda front: None)
    try:
        follower.advance(10)
        with pytest.raises(OSError, match="shorter than 10 bytes"):
            follower.finish()
        with pytest.raises(OSError, match="shorter"):
            follower.advance(11)
    finally:
        follower.close()
        os.close(fd)
