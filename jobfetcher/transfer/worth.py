"""Whether more connections for one file are worth it: by what the one has carried, and then all of them."""

import math
from dataclasses import dataclass

MIB = 1024 * 1024
_STRIKES = 3
"""Ranges without a byte, one after the other, after which more connections are not tried,"""
_REST_SECONDS = 30.0
"""for so long."""
_VAIN_SECONDS = 300.0
"""How long they are not tried where they won nothing."""
_SLOW = 4
"""How many times slower than usual a range must be to be taken away."""


@dataclass(frozen=True)
class Terms:
    """When a file is received in ranges, and in which."""

    seconds: float = 2.0
    """How long a rate is measured."""
    fast: float = 128 * MIB
    """Bytes per second of one connection from which on more of them only cost."""
    least: int = 32 * MIB
    """Bytes that must still be to come."""
    worth: float = 6.0
    """Seconds that one connection would still take, at least."""
    gain: float = 1.25
    """How many times faster than the one all of them must be."""
    piece_seconds: float = 2.0
    """What one connection carries in so many seconds is a range, if it lies between the next two:"""
    smallest: int = 4 * MIB
    largest: int = 32 * MIB
    unseen: int = MIB // 4
    """Bytes of a range that may have come before any are seen."""

    def pay(self, rate: float, left: int) -> bool:
        """Whether they hold for one connection of that rate, with so much still to come."""
        return rate < self.fast and left >= self.least and left > rate * self.worth

    def piece(self, rate: float) -> int:
        """Bytes of a range."""
        return int(min(self.largest, max(self.smallest, rate * self.piece_seconds)))


TERMS = Terms()


class Pace:
    """Measures one file. Moments are those of one monotonic clock, rates are bytes per second."""

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self._since, self._before = 0.0, 0
        self._alone = 0.0
        self._left_to_look = 0
        self._alone_until = -math.inf
        self._strikes = 0
        self.usual = 0.0
        """What one connection carries."""

    def begin(self, now: float, received: int) -> None:
        """Measure from here."""
        self._since, self._before = now, received

    def measured(self, now: float, received: int) -> float | None:
        """The rate since the last time, if that was long enough ago."""
        if now - self._since < self._terms.seconds:
            return None
        rate = (received - self._before) / (now - self._since)
        self.begin(now, received)
        return rate

    def spread(self, rate: float) -> None:
        """More connections are called, for the one has that rate."""
        self.usual = self._alone = rate
        self._left_to_look = 2  # they need a while to come up to speed

    def disappoints(self, now: float, rate: float) -> bool:
        """All together are no faster than the one was. Told once; they are not wanted for a while then."""
        if not self.wanted(now):
            self._alone, self._left_to_look = rate, 2
        elif self._left_to_look:
            self._left_to_look -= 1
            if not self._left_to_look and rate < self._alone * self._terms.gain:
                self._alone_until = now + _VAIN_SECONDS
                return True
        return False

    def wanted(self, now: float) -> bool:
        """More connections are welcome."""
        return now >= self._alone_until

    def came_in(self, rate: float) -> None:
        """A range is whole, and had that rate."""
        self._strikes = 0
        self.usual += (rate - self.usual) / 4

    def failed(self, now: float) -> None:
        """One brought nothing."""
        self._strikes += 1
        if self._strikes >= _STRIKES:
            self._strikes = 0
            self._alone_until = max(self._alone_until, now + _REST_SECONDS)

    def slow(self, rate: float, seconds: float) -> bool:
        """Whether a range of that rate and age is to be taken away."""
        if seconds <= self._terms.seconds or rate + self._terms.unseen / seconds >= self.usual / _SLOW:
            return False
        self.usual += (rate - self.usual) / 4  # if all become slow, this one is not
        return True
