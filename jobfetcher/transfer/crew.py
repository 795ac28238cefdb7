"""Several transfers side by side; the first error, or a stop, ends them all promptly."""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from typing import Any, TypeVar

from states.errors import Paused
from states.ports import Stop

T = TypeVar("T")
_NO_MORE = object()


class Halt:
    """A ``Stop`` for one crew: set by the crew itself, or by the stop around it."""

    def __init__(self, outer: Stop) -> None:
        self._outer = outer
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._callbacks: dict[int, Callable[[], None]] = {}

    def set(self) -> None:
        with self._lock:
            self._event.set()
            waiting = list(self._callbacks.values())
            self._callbacks.clear()
        for callback in waiting:
            callback()

    def is_set(self) -> bool:
        return self._event.is_set() or self._outer.is_set()

    def wait(self, seconds: float) -> bool:
        return self._event.wait(seconds) or self._outer.is_set()

    def check(self) -> None:
        self._outer.check()
        if self._event.is_set():
            raise Paused("Another file of the job failed.")

    @contextmanager
    def interrupts(self, callback: Callable[[], None]) -> Iterator[None]:
        key = id(callback)
        with self._lock:
            late = self._event.is_set()
            if not late:
                self._callbacks[key] = callback
        if late:
            callback()
        try:
            yield
        finally:
            with self._lock:
                self._callbacks.pop(key, None)


def side_by_side(
    work: Callable[[T, Stop], None],
    items: Iterable[T],
    connections: int,
    stop: Stop,
    after: Callable[[], None] = lambda: None,
) -> None:
    """Call ``work(item, stop)`` for every item, ``connections`` at a time, and return when all are done.

    ``after`` is called by each of the threads that finds no item left.
    Raises the stop's error, or else the first that any of the calls raised.
    """
    halt = Halt(stop)
    crew = _Crew(work, items, halt, after)
    with stop.interrupts(halt.set):
        threads = [
            threading.Thread(
                target=copy_context().run, args=(crew.run,), name=f"transfer-{number}", daemon=True
            )
            for number in range(max(1, connections))
        ]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        except BaseException:
            halt.set()
            raise
    stop.check()
    if crew.errors:
        raise crew.errors[0]


class _Crew:
    def __init__(
        self,
        work: Callable[[Any, Stop], None],
        items: Iterable[Any],
        halt: Halt,
        after: Callable[[], None],
    ) -> None:
        self._work = work
        self._after = after
        self._items = iter(items)
        self._halt = halt
        self._lock = threading.Lock()
        self.errors: list[BaseException] = []

    def run(self) -> None:
        try:
            while not self._halt.is_set():
                with self._lock:
                    item = next(self._items, _NO_MORE)
                if item is _NO_MORE:
                    return self._after()
                self._work(item, self._halt)
        except BaseException as error:  # it is raised again by the thread that waits
            self.errors.append(error)
            self._halt.set()
