"""Dying at a chosen point: before or after any statement, commit or call to the outside.

How a test uses it: run the scenario once with ``CrashPoints()`` to learn its points; then once for each
``number`` in ``range(len(points.seen))`` with ``CrashPoints(number)``. Catch ``SimulatedCrash``, close what
the dead process had open, open it anew (unwatched) and run the same scenario again: it must end as if
nothing had happened.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.pool import PoolProxiedConnection


class SimulatedCrash(BaseException):
    """The process died. Not an ``Exception``: nothing that handles errors may see it."""


class CrashPoints:
    """Counts the points at which a process may die, and dies at number ``crash_at`` (None: never).

    Once dead it stays dead: every later point raises as well, so that no ``finally`` block and no other
    thread does work that a killed process could not have done.
    """

    def __init__(self, crash_at: int | None = None) -> None:
        self.seen: list[str] = []
        """The points passed, in order; the last one is where it died, if it did."""
        self.dead = False
        self._crash_at = crash_at

    def point(self, name: str) -> None:
        """A point of one's own. Raises ``SimulatedCrash`` if it is the one."""
        if not self.dead:
            self.seen.append(name)
            self.dead = len(self.seen) - 1 == self._crash_at
        if self.dead:
            raise SimulatedCrash(self.seen[-1])

    @contextmanager
    def around(self, name: str) -> Iterator[None]:
        """A point before the block and one after it."""
        self.point(f"before {name}")
        yield
        self.point(f"after {name}")

    def watch(self, engine: Engine) -> None:
        """Make each statement and each commit of ``engine`` (``SqlStore.engine``) two points.

        The rollback that follows a crash leaves what the disk would hold: nothing of the transaction.
        """
        event.listen(engine, "before_cursor_execute", self._before_statement)
        event.listen(engine, "after_cursor_execute", self._after_statement)
        commit = engine.dialect.do_commit

        def crashing_commit(dbapi_connection: PoolProxiedConnection) -> None:
            with self.around("COMMIT"):
                commit(dbapi_connection)

        # SQLAlchemy has an event before the commit, and none after it.
        engine.dialect.do_commit = crashing_commit  # type: ignore[method-assign] # reason above

    def watched(self, port: object, name: str) -> Any:
        """``port``, with a point before and after each call of a method: for API, runner, transfers."""
        return _Watched(self, port, name)

    def _before_statement(self, *event_values: Any) -> None:
        self.point(f"before {_first_words(event_values[2])}")

    def _after_statement(self, *event_values: Any) -> None:
        try:
            self.point(f"after {_first_words(event_values[2])}")
        except SimulatedCrash:
            # The dead hold no locks; a statement whose rows nobody fetched would.
            event_values[1].close()
            raise


class _Watched:
    def __init__(self, points: CrashPoints, port: object, name: str) -> None:
        self._points, self._port, self._name = points, port, name

    def __getattr__(self, attribute: str) -> Any:
        value = getattr(self._port, attribute)
        return self._watching(attribute, value) if callable(value) else value

    def _watching(self, attribute: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*positional: Any, **named: Any) -> Any:
            with self._points.around(f"{self._name}.{attribute}"):
                return method(*positional, **named)

        return call


def _first_words(statement: str) -> str:
    return " ".join(statement.split()[:3])
