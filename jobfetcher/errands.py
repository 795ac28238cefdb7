"""What takes long for an operator, each in a thread of its own: other requests need not wait for it."""

import logging
import threading
from collections.abc import Callable
from contextvars import copy_context

from jobfetcher.pace import pause_backoff
from jobfetcher.stop import StopSignal
from persistence.errors import StoreUnavailable
from persistence.requests import Answer
from states.errors import Paused

log = logging.getLogger(__name__)

Work = Callable[[StopSignal], Answer]
"""Raises ``Paused`` or ``StoreUnavailable`` where it can go on later; it is then begun anew."""


class Errands:
    """The errands under way, by the number of their request."""

    def __init__(self) -> None:
        self._stop = StopSignal()
        self._lock = threading.Lock()
        self._threads: dict[int, threading.Thread] = {}
        self._answers: dict[int, Answer] = {}

    def answer(self, number: int, work: Work) -> Answer | None:
        """What came of the errand; None while it is under way. Begins it if need be."""
        with self._lock:
            if number in self._answers:
                return self._answers[number]
            if number not in self._threads:
                body = copy_context().run
                thread = threading.Thread(
                    target=body, args=(self._do, number, work), name=f"errand-{number}", daemon=True
                )
                self._threads[number] = thread
                thread.start()
        return None

    def forget(self, number: int) -> None:
        """The answer has reached the operator."""
        with self._lock:
            self._answers.pop(number, None)

    def stop(self) -> None:
        """End them; their requests stay open for the next start."""
        self._stop.set("shutdown")

    def join(self, seconds: float) -> None:
        """Wait for them to end."""
        for thread in list(self._threads.values()):
            thread.join(seconds)

    def _do(self, number: int, work: Work) -> None:
        answer: Answer | None = None
        for wait in pause_backoff():
            try:
                answer = work(self._stop)
            except (Paused, StoreUnavailable) as error:
                log.warning("errand.paused", extra={"request": number, "reason": str(error)})
            except Exception as bug:
                log.exception("errand.stumbled", extra={"request": number})
                answer = stumbled(bug)
            if answer is not None or self._stop.wait(wait):
                break
        with self._lock:
            del self._threads[number]
            if answer is not None:
                self._answers[number] = answer


def stumbled(bug: Exception) -> Answer:
    """What an operator is told of a bug. Not tried again: it would be met again at each start."""
    return Answer(
        f"The worker stumbled over it ({type(bug).__name__}: {bug}); its log says more.", refused=True
    )
