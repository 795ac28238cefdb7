"""How one file is shared out among connections: what is still to come, and who receives which part of it.

It begins as one range, from what is here to the end. If the one connection shows to be slow while others have
nothing to do, the rest is given out in ranges, the lowest first. Whatever becomes of a range, what is left of
it is given out again; and only bytes of a range that is still somebody's are written.
"""

import logging
import threading
import time
from collections.abc import Callable

from jobfetcher.transfer.course import Course
from jobfetcher.transfer.gaps import Gaps, Range
from jobfetcher.transfer.part import Part
from jobfetcher.transfer.worth import TERMS, Pace, Terms
from states.ports import Stop

log = logging.getLogger(__name__)

WAIT_SECONDS = 0.5
"""How often somebody with nothing to do looks again."""
AHEAD = 16
"""Ranges between the front and the last one that is given out: a crash costs so many at most."""


class Ranges:
    """The ranges of one file. Safe from any thread.

    ``willing`` tells how many other connections have nothing else to do; ``call`` tells them that there are
    ranges to be had.
    """

    def __init__(
        self,
        part: Part,
        course: Course,
        stop: Stop,
        willing: Callable[[], int],
        call: Callable[[], None],
        terms: Terms = TERMS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._part = part
        self._course = course
        self._stop = stop
        self._willing = willing
        self._call = call
        self._terms = terms
        self._clock = clock
        self._pace = Pace(terms)
        self._changed = threading.Condition()
        self._gaps = Gaps() if part.whole else Gaps((part.size, None))
        self._taken: list[Range] = []
        self._allowed = False
        self._spread = False
        self._proved = False
        self._piece = 0
        self._error: Exception | None = None
        self.total: int | None = None
        """Bytes of the whole file, once they are known."""
        self.received = part.size
        """Bytes that are here, also behind holes."""

    @property
    def whole(self) -> bool:
        """Nothing is to be received, and nothing is being received. Raises what ``fail`` was told."""
        with self._changed:
            if self._error is not None:
                raise self._error
            return not self._gaps and not self._taken

    @property
    def shared(self) -> int:
        """Ranges that are being received."""
        return len(self._taken)

    def take(self, hand: bool = False) -> Range | None:
        """The next range for the caller to receive, None if there is none now. To be given back in any case.

        ``hand``: the caller is not the file's own thread.
        """
        with self._changed:
            now = self._clock()
            if hand and not (self._spread and self._pace.wanted(now)):
                return None
            if not self._gaps or self._far_ahead():
                self._take_slow_ones_away(now, self._taken)
                return None
            start, end = self._gaps.pop()
            stop = min(end, start + self._next_size()) if self._spread and end is not None else end
            self._gaps.add(stop, end)
            taken = Range(start, stop, self._stop, now, hand)
            self._taken.append(taken)
            return taken

    def give_back(self, taken: Range, blame: bool = False) -> None:
        """The caller receives it no more; what is left of it is for others.

        ``blame``: that is the server's or the connection's fault.
        """
        with self._changed:
            if taken.lost:
                return
            self._proved = self._proved or (taken.hand and taken.done)
            self._release(taken)
            if taken.done:
                self._pace.came_in(taken.rate(self._clock()))
            elif blame and taken.place == taken.start:
                self._pace.failed(self._clock())

    def wait(self) -> None:
        """Wait until something was given back, but not for long."""
        with self._stop.interrupts(self._wake), self._changed:
            if self._taken and not self._stop.is_set():
                self._pause()

    def asked(self, taken: Range) -> dict[str, str]:
        """Headers that ask for what is still to come of it; none: the whole file is asked for."""
        with self._changed:
            tag, end = self._part.etag, taken.end
            if not tag or not (taken.place or self._spread):
                return {}
            last = end - 1 if self._spread and end is not None else ""
            return {"Range": f"bytes={taken.place}-{last}", "If-Range": tag}

    def answered(self, taken: Range, total: int | None, limit: int | None, allowed: bool) -> None:
        """To the file's own thread: the body follows. It ends at ``limit``, the file at ``total`` (if known).

        ``allowed``: the server can be asked for ranges. Raises ``JobFailed`` if there is no room.
        """
        with self._changed:
            if taken.lost:
                return
            self.total = self.total if total is None else total
            self._allowed = allowed and total is not None
            taken.limit = limit
            if taken.end is None:
                taken.end = total
            self._course.answered(total, self.received, self._stop)
            if not self._spread:
                self._pace.begin(self._clock(), self.received)

    def restart(self, taken: Range, etag: str = "") -> None:
        """The file begins anew with that range, which is all of it; nobody else has any."""
        with self._changed:
            if taken.lost:
                return
            self._spread = self._allowed = self._proved = False
            for other in [other for other in self._taken if other is not taken]:
                self._take_away(other)
            self._gaps.clear()
            self._part.restart(etag)
            taken.start = taken.place = self.received = 0
            taken.end = taken.limit = self.total = None

    def write(self, taken: Range, piece: bytes) -> None:
        """The next bytes of a body. Those beyond its range, or of one that was taken away, are dropped."""
        with self._changed:
            while not taken.done and (fits := taken.fitting(piece)):
                self._part.write(fits, taken.place)
                taken.place += len(fits)
                self.received += len(fits)
                self._part.reach(self._front())
                self._course.at(self.received)
                if self._allowed:
                    self._go_on(taken)
                piece = piece[len(fits) :]

    def ended(self, taken: Range) -> None:
        """The body ended as it should; if nobody knew where, that is the file's end."""
        with self._changed:
            if taken.end is None and not taken.lost:
                taken.end = self.total = taken.place

    def fail(self, error: Exception) -> None:
        """From somebody else's thread: the file cannot be received. Its own thread is told."""
        with self._changed:
            self._error = self._error or error
            self.close()

    def close(self) -> None:
        """Nobody writes or takes any more."""
        with self._changed:
            self._spread = False
            for taken in list(self._taken):
                self._take_away(taken)
            self._gaps.clear()

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _pause(self) -> None:
        self._changed.wait(WAIT_SECONDS)

    def _front(self) -> int:
        places = [taken.place for taken in self._taken]
        if self._gaps:
            places.append(self._gaps.start)
        return min(places, default=self.total or 0)

    def _far_ahead(self) -> bool:
        return self._spread and self._gaps.start - self._front() > AHEAD * self._piece

    def _next_size(self) -> int:
        """Ranges become smaller towards the end, so that all connections end together."""
        on_their_way = sum((taken.end or 0) - taken.place for taken in self._taken)
        nobodys = (self.total or 0) - self.received - on_their_way
        fair = nobodys // (2 * (len(self._taken) + 1))
        return max(self._terms.smallest, min(self._piece, fair))

    def _release(self, taken: Range) -> None:
        self._taken.remove(taken)
        self._gaps.add(taken.place, taken.end)
        self._changed.notify_all()
        if self._spread:
            self._part.reach(self._front())

    def _take_away(self, taken: Range) -> None:
        taken.lost = True
        self._release(taken)
        taken.halt.set()

    def _take_slow_ones_away(self, now: float, among: list[Range]) -> None:
        """Somebody has nothing to do but wait for them: what is left of them is for others."""
        for taken in list(among) if self._spread else []:
            rate = taken.rate(now)
            if not taken.done and self._pace.slow(rate, now - taken.began):
                if taken.place == taken.start:
                    self._pace.failed(now)  # or a server that is slow to begin would never be waited for
                self._tell("download.range-taken-away", rate)
                self._take_away(taken)

    def _go_on(self, taken: Range) -> None:
        """After each piece: keep the connection if nobody has what follows; look at the rate now and then."""
        if taken.done and not taken.hand:
            self._prolong(taken)
        now = self._clock()
        rate = self._pace.measured(now, self.received)
        if rate is None:
            return
        if not self._spread:
            self._share_out(taken, rate)
        elif self._pace.disappoints(now, rate):
            self._tell("download.alone-again", rate)

    def _prolong(self, taken: Range) -> None:
        """Its body has what follows. Before ranges have been seen to work, it is worth waiting for."""
        if taken.limit is None or taken.limit == taken.end:
            return
        while not self._proved and (next_ones := [one for one in self._taken if one.start == taken.end]):
            self._pause()
            if taken.lost or self._stop.is_set():
                return
            self._take_slow_ones_away(self._clock(), next_ones)
        if (gap := self._gaps.pop_at(taken.end)) is not None:
            start, end = gap
            taken.end = min(start + self._next_size(), taken.limit, end or taken.limit)
            self._gaps.add(taken.end, end)

    def _share_out(self, taken: Range, rate: float) -> None:
        """Give out all but the next range of the file, if that pays."""
        left = (self.total or 0) - self.received
        wanted = self._willing() and self._pace.wanted(self._clock())
        if not (wanted and self._terms.pay(rate, left)):
            return
        self._part.spread()
        self._piece = self._terms.piece(rate)
        self._spread = True
        taken.end = taken.place
        taken.end += min(self._next_size(), left)
        self._gaps.add(taken.end, self.total)
        self._pace.spread(rate)
        self._pace.begin(self._clock(), self.received)
        self._tell("download.shared-out", rate)
        self._call()

    def _tell(self, event: str, rate: float) -> None:
        log.info(event, extra={"path": self._part.path, "rate": round(rate), "bytes": self.received})
