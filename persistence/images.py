"""The images that this worker has pulled: rows of the table ``images``."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, Select, bindparam, delete, select, update
from sqlalchemy.dialects import sqlite

from persistence.schema import images

Transaction = Callable[[], AbstractContextManager[Connection]]
Read = Callable[[Select[Any]], list[Row[Any]]]

_ONE = images.c.image_id == bindparam("of_image")
_ADD = sqlite.insert(images)
ADD = _ADD.on_conflict_do_update(
    index_elements=[images.c.image_id],
    set_={"reference": bindparam("all_references"), "used_at": _ADD.excluded.used_at},
)
GET = select(images.c.reference).where(_ONE)
USED = update(images).where(_ONE).values(used_at=bindparam("now"))
OLDEST = select(images).order_by(images.c.used_at, images.c.image_id)
FORGET = delete(images).where(_ONE)


@dataclass(frozen=True)
class PulledImage:
    """An image that was not in the engine before a pull of ours."""

    image_id: str
    references: tuple[str, ...]
    """The names by which we have pulled it, with their tags."""
    used_at: float
    """When a job last wanted it, in seconds since the epoch."""


class PulledImages:
    """What has been pulled, and when it was wanted. A call that writes returns once that is on disk."""

    def __init__(self, transaction: Transaction, read: Read, clock: Callable[[], float]) -> None:
        self._transaction = transaction
        self._read = read
        self._clock = clock

    def pulled(self, image_id: str, reference: str) -> None:
        """We have pulled ``image_id`` under the name ``reference``, and a job wants it."""
        now = self._clock()
        with self._transaction() as connection:
            known = connection.execute(GET, {"of_image": image_id}).scalar() or ""
            # No name holds a space.
            names = known if reference in known.split() else f"{known} {reference}".strip()
            row = {"image_id": image_id, "reference": names, "pulled_at": now, "used_at": now}
            connection.execute(ADD, {**row, "all_references": names})

    def used(self, image_id: str) -> None:
        """A job wants the image. Nothing if we have not pulled it."""
        with self._transaction() as connection:
            connection.execute(USED, {"of_image": image_id, "now": self._clock()})

    def oldest_first(self) -> list[PulledImage]:
        """All of them, the one that no job has wanted for longest first."""
        return [
            PulledImage(row.image_id, tuple(row.reference.split()), row.used_at) for row in self._read(OLDEST)
        ]

    def forget(self, image_id: str) -> None:
        """It is gone, or no longer ours."""
        with self._transaction() as connection:
            connection.execute(FORGET, {"of_image": image_id})
