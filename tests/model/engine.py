"""``ModelEngine``: an engine with lives. It does what it is told, also what no worker should tell it."""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from jobfetcher.runners.engine import Bell, Conflict, NotThere, Stream
from jobfetcher.runners.story import Story
from states.errors import Paused

NEVER, THEN = "0001-01-01T00:00:00Z", "2024-01-01T00:00:00Z"
EVENTS = (
    *("container ends well", "container ends well", "container ends badly", "container removed"),
    *("engine restarts", "engine goes away", "engine is back"),
)
"""What may befall it; what is named twice happens more often."""
SAID = b"\1\0\0\0\0\0\0\2hi"


class ModelEngine:
    """Implements ``jobfetcher.runners.engine.Engine``."""

    def __init__(self) -> None:
        self.containers: dict[str, dict[str, Any]] = {}
        self.starts: Counter[str] = Counter()
        """How often each name was started."""
        self.own_ends: dict[str, int] = {}
        """Exit codes of the runs that ended by themselves in the engine's life that they began in."""
        self.remembered: set[str] = set()
        """Containers whose end this life has told."""
        self.stories: dict[str, Story] = {}
        """What a stream of events has told that nobody has forgotten since."""
        self.away = False
        self._lives = 1
        self._made = 0

    # What befalls it

    def befall(self, what: str, pick: int) -> None:
        """The event with that name, to one of the containers that it can happen to."""
        if what == "engine goes away":
            self.away = True
        elif what == "engine is back":
            self.away = False
        elif what == "engine restarts":
            self.restart((137, 0)[pick % 2])
        elif what == "container removed":
            for found in list(self.containers.values())[pick : pick + 1]:
                self._forget(found["Id"])
        else:
            for found in self.running()[pick % 2 :][:1]:
                self.ends(found, 0 if what == "container ends well" else 1 + pick)

    def running(self) -> list[dict[str, Any]]:
        return [one for one in self.containers.values() if one["State"]["Status"] == "running"]

    def ends(self, found: dict[str, Any], code: int) -> None:
        """The container ends by itself."""
        if found["born"] == self._lives:
            self.own_ends[found["Name"]] = code
        self._exit(found, code)

    def restart(self, code: int) -> None:
        """Whatever runs is ended, with that code."""
        self._lives += 1
        self.away = False
        for found in self.running():
            self._exit(found, code)
        self.remembered.clear()

    # What it is asked

    def life(self) -> str:
        self._answer()
        return f"life {self._lives}"

    def inspect(self, container: str) -> dict[str, Any] | None:
        self._answer()
        by_name = (one for one in self.containers.values() if one["Name"] == container)
        found = self.containers.get(container) or next(by_name, None)
        return None if found is None else {**found, "State": dict(found["State"])}

    def listed(self, labels: Mapping[str, str]) -> list[dict[str, Any]]:
        self._answer()
        found = [{"Id": key, "Labels": one["Config"]["Labels"]} for key, one in self.containers.items()]
        return [one for one in found if labels.items() <= one["Labels"].items()]

    def create(self, name: str, config: Mapping[str, Any]) -> str:
        if self.inspect(name) is not None:
            raise Conflict("the name is taken", 409)
        self._made += 1
        key = f"container {self._made}"
        state = {"Status": "created", "StartedAt": NEVER, "FinishedAt": NEVER, "ExitCode": 0}
        self.containers[key] = {"Id": key, "Name": name, "State": state, "Config": config, "HostConfig": {}}
        return key

    def start(self, container: str) -> None:
        found = self._found(container)
        if found["State"]["Status"] != "running":
            self.starts[found["Name"]] += 1
            found["born"] = self._lives
            found["State"] |= {"Status": "running", "StartedAt": THEN}
            self.stories[container] = Story(0)

    def stop(self, container: str, grace_seconds: float) -> None:
        found = self._found(container)
        if found["State"]["Status"] == "running":
            self._exit(found, 143)

    def kill(self, container: str) -> None:
        self.stop(container, 0)

    def remove(self, container: str) -> None:
        self._forget(self._found(container)["Id"])

    def image_id(self, reference: str) -> str | None:
        self._answer()
        return "sha256:1"

    @contextmanager
    def pull(self, repository: str, tag: str) -> Iterator[Stream]:
        raise NotThere("no registry", 404)
        yield

    def events(self, labels: Mapping[str, str]) -> AbstractContextManager[Stream]:
        raise NotImplementedError("ModelWatch stands for it")

    def remembers(self, container: str, moment: int) -> bool:
        self._answer()
        return container in self.remembered

    def out_of_memory(self, container: str) -> bool:
        self._answer()
        return False

    @contextmanager
    def output(self, container: str) -> Iterator[Stream]:
        self._found(container)
        yield _Stream()

    def _found(self, container: str) -> dict[str, Any]:
        self._answer()
        if container not in self.containers:
            raise NotThere("no such container", 404)
        return self.containers[container]

    def _exit(self, found: dict[str, Any], code: int) -> None:
        """Whoever brought it about, events tell it like an end of its own: the worst that they may do."""
        found["State"] |= {"Status": "exited", "ExitCode": code, "FinishedAt": THEN}
        if found["Id"] in self.stories:
            self.stories[found["Id"]] = Story(0, 0, code)
        self.remembered.add(found["Id"])

    def _forget(self, container: str) -> None:
        del self.containers[container]
        self.stories.pop(container, None)

    def _answer(self) -> None:
        if self.away:
            raise Paused("No engine answers.")


class ModelWatch:
    """Implements ``jobfetcher.runners.engine.Watch`` in one thread. What it knows of the engine's life may
    long have passed; where one would wait, the worker turns to something else."""

    def __init__(self, asked: Any, engine: ModelEngine) -> None:
        self._asked, self._engine = asked, engine
        self._known = ""
        self.renew()

    def life(self) -> str:
        self._known = self._known or str(self._asked.life())
        return self._known

    def story(self, container: str, seconds: float = 0) -> Story | None:
        return self._engine.stories.get(container)

    def renew(self) -> None:
        self._known = ""
        self._engine.stories.clear()

    @contextmanager
    def expecting(self, container: str) -> Iterator[Bell]:
        yield _Bell(self._engine, container)


class _Bell:
    def __init__(self, engine: ModelEngine, container: str) -> None:
        self._engine, self._container = engine, container

    def wait(self, timeout: float) -> bool:
        if any(one["Id"] == self._container for one in self._engine.running()):
            raise Paused("Nothing happens.")
        return True

    def set(self) -> None: ...


class _Stream:
    def chunks(self) -> Iterator[bytes]:
        yield SAID

    def shutdown(self) -> None: ...
