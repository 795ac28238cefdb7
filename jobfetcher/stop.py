"""The one signal per job by which everything that happens for it is ended early.

It says why, and a stronger reason replaces a weaker one: ``gone`` (the API has forgotten the job) wins over
``cancelled`` (by the operator), that over ``shutdown`` (the worker stops), that over ``again`` (leave what
you are in the middle of, and begin the step anew at once).
"""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal, get_args

from states.errors import JobFailed, JobGone, Paused

log = logging.getLogger(__name__)

Reason = Literal["again", "shutdown", "cancelled", "gone"]
_WEAKEST_FIRST: tuple[Reason, ...] = get_args(Reason)


class StopSignal:
    """Implements ``states.ports.Stop``. Safe to use from any thread; once set it stays set."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._reason: Reason | None = None
        self._detail = ""
        self._callbacks: list[Callable[[], None]] = []

    @property
    def reason(self) -> Reason | None:
        """Why it is set, or None if it is not."""
        return self._reason

    @property
    def detail(self) -> str:
        """The sentence that came with the reason ``cancelled``."""
        return self._detail

    def set(self, reason: Reason, detail: str = "") -> None:
        """Set it, or give it a stronger reason. What is to be interrupted is interrupted once.

        ``detail`` is what the owner of a job that is ``cancelled`` is told.
        """
        with self._changed:
            first = self._reason is None
            if self._reason is None or _stronger(reason, self._reason):
                self._detail = detail
                self._reason = reason
            callbacks = list(self._callbacks) if first else []
            self._changed.notify_all()
        for callback in callbacks:
            _call(callback)

    def is_set(self) -> bool:
        return self._reason is not None

    def wait(self, seconds: float) -> bool:
        """Sleep for ``seconds``, but wake when set. True if it is set."""
        with self._changed:
            return self._changed.wait_for(self.is_set, seconds)

    def check(self) -> None:
        """Raise ``JobGone``, ``JobFailed`` (cancelled) or ``Paused`` if set."""
        if self._reason == "gone":
            raise JobGone("The job is no longer ours: the API has forgotten it or given it away.")
        if self._reason == "cancelled":
            raise JobFailed(self._detail)
        if self._reason == "again":
            raise Paused("It begins anew at once, as the operator asked.")
        if self._reason is not None:
            raise Paused("The worker is stopping.")

    @contextmanager
    def interrupts(self, callback: Callable[[], None]) -> Iterator[None]:
        """Within the block, call ``callback`` when set; at once if it is set already.

        An error of the callback is logged and goes no further.
        """
        with self._changed:
            late = self.is_set()
            self._callbacks.append(callback)
        try:
            if late:
                _call(callback)
            yield
        finally:
            with self._changed:
                self._callbacks.remove(callback)


def _stronger(reason: Reason, than: Reason) -> bool:
    return _WEAKEST_FIRST.index(reason) > _WEAKEST_FIRST.index(than)


def _call(callback: Callable[[], None]) -> None:
    try:
        callback()
    except Exception:
        log.warning("stop.callback-failed", exc_info=True)
