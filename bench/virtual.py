"""A virtual clock, and the API as a fleet sees it: when each request came, and whether it was answered."""

import heapq
import random
from array import array
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from itertools import count

from jobfetcher.api.errors import Unreachable

CONNECT_SECONDS = 10.0
"""How long a client waits for a connection that nobody refuses."""

Life = Generator[float | None, None, None]
"""What somebody does: it yields seconds to sleep, or None to sleep until woken."""


class Sleeper:
    """One life on the clock. Waking it early makes its alarm void."""

    def __init__(self, clock: "VirtualClock", life: Life) -> None:
        self._clock = clock
        self._life = life
        self.alarm = 0
        """The only alarm that counts; 0: none is set."""

    def wake(self, after: float = 0.0) -> None:
        """Go on ``after`` seconds from now."""
        self.alarm = self._clock.set_alarm(self, after)

    def go_on(self) -> None:
        """Live until the next sleep."""
        self.alarm = 0
        wait = next(self._life, None)
        if wait is not None and not self.alarm:
            self.wake(wait)


class VirtualClock:
    """Seconds that pass only when everybody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self._numbers = count(1)
        self._alarms: list[tuple[float, int, Sleeper]] = []

    def set_alarm(self, sleeper: Sleeper, after: float) -> int:
        """Let somebody go on; returns the alarm's number."""
        number = next(self._numbers)
        heapq.heappush(self._alarms, (self.now + after, number, sleeper))
        return number

    def run(self, until: float) -> None:
        """Let time pass up to that moment."""
        while self._alarms and self._alarms[0][0] <= until:
            when, number, sleeper = heapq.heappop(self._alarms)
            if sleeper.alarm == number:
                self.now = when
                sleeper.go_on()
        self.now = until


@dataclass(frozen=True)
class Outage:
    """The API is away from ``start`` on, for ``seconds``."""

    start: float
    seconds: float
    silent: bool = False
    """Packets vanish and each attempt takes its time-out, instead of being refused at once."""

    @property
    def end(self) -> float:
        return self.start + self.seconds

    def covers(self, moment: float) -> bool:
        """Whether the API is away then."""
        return self.start <= moment < self.end


@dataclass
class Service:
    """The API: remembers when each request was made, by what was asked."""

    outage: Outage | None = None
    asked: dict[str, "array[float]"] = field(default_factory=dict)

    def ask(self, what: str, moment: float) -> bool:
        """One request at that moment. Whether it was answered."""
        self.asked.setdefault(what, array("d")).append(moment)
        return self.outage is None or not self.outage.covers(moment)

    def moments(self) -> list[float]:
        """When the requests came, in order."""
        return sorted(moment for moments in self.asked.values() for moment in moments)


class Line:
    """One thread of a worker. Calls that wait make it late; ``rest`` catches up. Implements ``Stop``."""

    def __init__(self, clock: VirtualClock, service: Service) -> None:
        self._clock = clock
        self._service = service
        self._late = 0.0

    def now(self) -> float:
        """This thread's time."""
        return self._clock.now + self._late

    def ask(self, what: str) -> None:
        """One request. Raises ``Unreachable`` while the API is away."""
        if not self._service.ask(what, self.now()):
            outage = self._service.outage
            self._late += CONNECT_SECONDS if outage and outage.silent else 0.0
            raise Unreachable(what, "connection refused", sent=False)

    def rest(self, seconds: float) -> float:
        """Seconds to sleep for, so that ``seconds`` have passed on this thread's clock."""
        wait, self._late = self._late + seconds, 0.0
        return wait

    def is_set(self) -> bool:
        return False

    def wait(self, seconds: float) -> bool:
        self._late += seconds
        return False

    def check(self) -> None:
        return None

    def interrupts(self, callback: Callable[[], None]) -> AbstractContextManager[None]:
        return nullcontext()


@contextmanager
def chance(seed: int) -> Iterator[None]:
    """The same chance every time within the block, for everybody who takes it from ``random``."""
    before = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(before)
