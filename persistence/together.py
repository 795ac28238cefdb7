"""One transaction for the calls of several threads that come at the same time: they share its wait for the
disk. Each returns only after the commit, and what one of them rolls back is its own."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, RootTransaction

MOST = 16
"""Calls in one transaction, so that the first does not wait for ever."""


class _Group:
    """The calls of one transaction."""

    def __init__(self, transaction: RootTransaction) -> None:
        self.transaction = transaction
        self.members = 0
        self.over = threading.Event()
        self.error: BaseException | None = None

    def end(self) -> None:
        """Commit for all. What goes wrong is raised by ``wait``, to each of them."""
        try:
            self.transaction.commit()
        except BaseException as error:
            self.fail(error)
        else:
            self.over.set()

    def fail(self, error: BaseException) -> None:
        """Nobody's call has happened."""
        self.error = error
        connection = self.transaction.connection
        try:
            self.transaction.rollback()
            # After a commit that failed SQLAlchemy rolls nothing back; SQLite may be within it still.
            connection.connection.rollback()
        finally:
            self.over.set()

    def wait(self) -> None:
        """Return once it is on disk. Raises what kept it from getting there."""
        self.over.wait()
        if self.error is not None:
            raise self.error


class Together:
    """Writes through ``connection``, one thread at a time.

    A call that finds others waiting for their turn leaves the transaction open to them; the last commits.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._turn = threading.Lock()
        self._counting = threading.Lock()
        self.waiting = 0
        """Calls that wait for their turn."""
        self._group: _Group | None = None

    @contextmanager
    def call(self, check: Callable[[], None]) -> Iterator[Connection]:
        """A transaction, after ``check`` has raised nothing: committed when the block is left, undone if the
        block raises."""
        with self._my_turn():
            try:
                check()
                group = self._group = self._group or _Group(self._connection.begin())
                with self._undone_on_error(group):
                    yield self._connection
                group.members += 1
            finally:
                if not self.waiting or (self._group is not None and self._group.members >= MOST):
                    self._end()
        group.wait()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Nobody writes within the block, and what was written before is committed."""
        with self._my_turn():
            self._end()
            yield

    @contextmanager
    def _my_turn(self) -> Iterator[None]:
        with self._counting:
            self.waiting += 1
        with self._turn:
            with self._counting:
                self.waiting -= 1
            yield

    def _end(self) -> None:
        group, self._group = self._group, None
        if group is not None:
            group.end()

    @contextmanager
    def _undone_on_error(self, group: _Group) -> Iterator[None]:
        if group.members:
            self.say("SAVEPOINT member")
        try:
            yield
        except BaseException as error:
            self._undo(group, error)
            raise

    def _undo(self, group: _Group, error: BaseException) -> None:
        try:
            if group.members:
                self.say("ROLLBACK TO member")
                return
        except Exception:  # after some errors SQLite itself rolls everything back
            group.fail(error)
        else:
            group.transaction.rollback()
        self._group = None

    def say(self, statement: str) -> None:
        """Send a statement within the transaction."""
        # Past SQLAlchemy: its own savepoints cost as much as a statement of a move.
        self._connection.connection.cursor().execute(statement).close()
