"""What is told of one input on its way: to those who watch, and to those who keep the disk from filling."""

from collections.abc import Callable

from jobfetcher.progress import Share
from jobfetcher.room import Portion
from jobfetcher.transfer.batch import SMALL
from jobfetcher.transfer.gate import Gate
from states.ports import Stop


class Course:
    """One file on its way. Sizes are bytes. Close it when it has arrived.

    ``gate`` is where the files that begin together meet once each knows its size, before any large body is
    received: what cannot fit together is found out before it is fetched. ``before_large`` is called before a
    large body is received.
    """

    def __init__(
        self,
        share: Share,
        portion: Portion,
        gate: Gate | None,
        tell: Callable[[int], None],
        before_large: Callable[[], None],
    ) -> None:
        self._share = share
        self._portion = portion
        self._gate = gate
        self._tell = tell
        self._before_large = before_large
        self._size: int | None = None

    def found(self, here: int) -> None:
        """So much of it is here from an earlier try."""
        self._share.found(here)

    def answered(self, size: int | None, here: int, stop: Stop) -> None:
        """The body follows; the file will have ``size`` bytes (None: not known) and has ``here`` now.

        Raises ``JobFailed`` if there is no room for it.
        """
        self._size = size
        self._share.at(here)
        if size is not None:
            self._share.expects(size)
            self._portion.left(max(0, size - here))
        gate = self.close()
        if size is None or size - here >= SMALL:
            self._before_large()
            if gate is not None and size is not None:
                gate.wait(stop)
                stop.check()

    def at(self, here: int) -> None:
        """So much of it is here now."""
        self._share.at(here)
        if self._size is not None:
            self._portion.left(max(0, self._size - here))
        self._tell(here)

    def whole(self) -> None:
        """It is in its place."""
        self._share.whole()

    def close(self) -> Gate | None:
        """Nobody need wait for this file any more. The gate, the first time."""
        gate, self._gate = self._gate, None
        if gate is not None:
            gate.arrive()
        return gate
