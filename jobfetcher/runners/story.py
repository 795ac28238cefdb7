"""What one unbroken stream of events tells of each container.

A story begins with the start of a container and holds as long as nothing but its end follows. Whatever else
is said of it (memory ran out, somebody sent a signal, a pause, another start) spoils the story: of such a
container the events prove nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Story:
    """A container was started, and then nothing else happened to it but its end, if that has come."""

    started: int
    """Nanoseconds since the epoch, by the engine's clock."""
    ended: int | None = None
    """The same of the event that told its end; None: it has not ended."""
    code: int | None = None
    """The exit code it ended with."""


class Stories:
    """The stories of one stream. Grows only with the containers that exist."""

    def __init__(self) -> None:
        self._known: dict[str, Story | None] = {}
        """None: spoilt."""

    def of(self, container: str) -> Story | None:
        """None: the stream has not heard it from its start on, or it is spoilt."""
        return self._known.get(container)

    def knows(self, container: str) -> bool:
        """Whether anything was told of it."""
        return container in self._known

    def hear(self, event: Mapping[str, Any]) -> None:
        """The stream's next event."""
        container, action = str(event["Actor"]["ID"]), str(event.get("Action", ""))
        if action == "destroy":
            self._known.pop(container, None)
        elif action != "create":
            self._known[container] = self._after(container, action, event)

    def _after(self, container: str, action: str, event: Mapping[str, Any]) -> Story | None:
        """The story with this event."""
        if action == "start" and container not in self._known:
            return Story(_moment(event))
        story = self._known.get(container)
        code = str((event["Actor"].get("Attributes") or {}).get("exitCode", ""))
        if action != "die" or story is None or story.ended is not None or not code.isdecimal():
            return None
        return Story(story.started, _moment(event), int(code))


def _moment(event: Mapping[str, Any]) -> int:
    return int(event.get("timeNano", 0))
