"""Stretches of one file: those that nobody receives yet, and one that somebody receives."""

from jobfetcher.transfer.crew import Halt
from states.ports import Stop

Gap = tuple[int, int | None]
"""The first byte, and the one behind the last; None: the end of the file, wherever that is."""


class Gaps:
    """What nobody receives, lowest first; stretches that touch are one."""

    def __init__(self, *gaps: Gap) -> None:
        self._gaps = list(gaps)

    def __bool__(self) -> bool:
        return bool(self._gaps)

    @property
    def start(self) -> int:
        """The first byte of the lowest."""
        return self._gaps[0][0]

    def pop(self) -> Gap:
        """Take the lowest."""
        return self._gaps.pop(0)

    def pop_at(self, start: int | None) -> Gap | None:
        """Take the one that begins there, if there is one."""
        found = next((gap for gap in self._gaps if gap[0] == start), None)
        if found is not None:
            self._gaps.remove(found)
        return found

    def add(self, start: int | None, end: int | None) -> None:
        """Nobody receives that any more. It overlaps none of the others; it may be empty."""
        if start is None or start == end:
            return
        joined: list[Gap] = []
        for first, last in sorted([*self._gaps, (start, end)], key=lambda gap: gap[0]):
            if joined and joined[-1][1] == first:
                joined[-1] = (joined[-1][0], last)
            else:
                joined.append((first, last))
        self._gaps = joined

    def clear(self) -> None:
        self._gaps.clear()


class Range:
    """A stretch that one connection receives, since ``began``; ``hand``: not the file's own."""

    def __init__(self, start: int, end: int | None, stop: Stop, began: float, hand: bool = False) -> None:
        self.start = start
        self.place = start
        """Where its next byte belongs."""
        self.end = end
        self.limit: int | None = None
        """Where the answer's body ends, if that is known."""
        self.halt = Halt(stop)
        """Set when the range is taken away."""
        self.began = began
        self.hand = hand
        self.lost = False
        """It was taken away: it is nobody's, or already somebody else's."""

    @property
    def done(self) -> bool:
        """Nothing more is to be received for it."""
        return self.lost or self.place == self.end

    def fitting(self, piece: bytes) -> bytes:
        """As much of the next bytes as belongs to it."""
        bounds = [bound - self.place for bound in (self.end, self.limit) if bound is not None]
        return piece[: max(0, min(bounds))] if bounds and min(bounds) < len(piece) else piece

    def rate(self, now: float) -> float:
        """Bytes per second."""
        return (self.place - self.start) / max(now - self.began, 0.001)
