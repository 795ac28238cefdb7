"""What the container runner asks of an engine, and how the engine may answer.

A question that got no answer is ``Unanswered``: whatever it asked for may happen later. An engine that
cannot even be reached is a plain ``Paused``: nothing was asked.
"""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

from jobfetcher.runners.story import Story
from states.errors import Paused


class Unanswered(Paused):
    """The engine did not answer in time, or broke off. Look before asking again."""


class Refused(Exception):
    """The engine said no; the message is its reason."""

    def __init__(self, reason: str, status: int) -> None:
        super().__init__(reason)
        self.status = status


class NotThere(Refused):
    """404: no such container, image or network."""


class Conflict(Refused):
    """409: the name is taken, or the container is being removed already."""


class StreamBroken(Exception):
    """Nothing more came within the stream's time-out, or the connection broke."""


class Stream(Protocol):
    """An answer that comes bit by bit."""

    def chunks(self) -> Iterator[bytes]:
        """Pieces as they come, until the engine ends its answer. Where it follows something, that end proves
        nothing. Raises ``StreamBroken``."""

    def shutdown(self) -> None:
        """End the reading, from any thread."""


class Engine(Protocol):
    """One call is one request. Every call may raise ``Paused``; those that change something, ``Refused``."""

    def life(self) -> str:
        """Changes whenever the engine starts in a way that ends its containers.

        Asked on a connection of its own: an engine that is stopped takes no new ones from before it ends
        its containers, though it still answers on old ones.
        """

    def inspect(self, container: str) -> dict[str, Any] | None: ...
    def listed(self, labels: Mapping[str, str]) -> list[dict[str, Any]]:
        """Summaries of all containers with these labels, running or not."""

    def create(self, name: str, config: Mapping[str, Any]) -> str:
        """Returns the container's id."""

    def start(self, container: str) -> None: ...
    def stop(self, container: str, grace_seconds: float) -> None: ...
    def kill(self, container: str) -> None: ...
    def remove(self, container: str) -> None: ...
    def image_id(self, reference: str) -> str | None:
        """Exact id of a local image; None if there is none."""

    def pull(self, repository: str, tag: str) -> AbstractContextManager[Stream]:
        """Lines of JSON. Raises ``Refused``."""

    def events(self, labels: Mapping[str, str]) -> AbstractContextManager[Stream]:
        """A line of JSON for whatever happens to a container with these labels, from a few seconds ago on, in
        order and without a gap. It may be silent for as long as it likes."""

    def remembers(self, container: str, moment: int) -> bool:
        """Whether this life of the engine has told, at that moment (nanoseconds), that the container ended.

        Asked on a connection of its own, as ``life`` is. It waits for no lock of the container.
        """

    def out_of_memory(self, container: str) -> bool:
        """Whether it was reported that the container ran out of memory; waits a moment for that news."""

    def output(self, container: str) -> AbstractContextManager[Stream]:
        """What the container wrote until now, both streams multiplexed. Raises ``NotThere``."""


class Bell(Protocol):
    """Rung when there is something to look at; also in vain."""

    def wait(self, timeout: float) -> bool: ...
    def set(self) -> None: ...


class Watch(Protocol):
    """What is known of the engine without asking it each time."""

    def life(self) -> str:
        """``Engine.life`` as it is, or was at an earlier moment. Raises ``Paused``."""

    def story(self, container: str, seconds: float = 0) -> Story | None:
        """What events have told without a gap of the container since its start; None where they prove
        nothing. ``seconds``: how long to wait for the first of them."""

    def renew(self) -> None:
        """What was known is known no more."""

    def expecting(self, container: str) -> AbstractContextManager[Bell]:
        """A bell that is rung when the container ends or is removed. Raises ``Paused``."""
