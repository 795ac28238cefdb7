"""What the jobs run on: an engine of the soak's own, or plain processes. Counts starts past the worker."""

import contextlib
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import docker
import docker.errors

from tests.docker.private_engine import PrivateEngine
from tests.images import DEFAULT, busybox_image
from tests.soak.actors import Actor, drawn
from tests.soak.engine import NOT_NOW, RUN_LABEL, listed, reached
from tests.soak.watching import ContainerWatch, ProcessWatch, Watch, present

ROB_SECONDS = 8.0
"""How long a container that runs is waited for."""


class Ground:
    """Plain processes: nothing to restart, and nothing but the marks that jobs leave."""

    image = "image:1"
    variables: dict[str, str]
    quakes: "Quakes | None" = None

    def __init__(self) -> None:
        self.variables = {"RUNNER": "process"}
        self.starts: Counter[str] = Counter()
        """How often each run was started, as the engine says."""
        self.started: dict[str, float] = {}
        """When each was started last, in seconds since the epoch."""

    def leftovers(self) -> list[str]:
        """Containers that are still there."""
        return []

    def watch(self, base: Path) -> Watch:
        """Who sees what the worker with that folder runs."""
        return ProcessWatch(base / "runs")


class DockerGround(Ground):
    """A private engine, whose containers are all the worker's."""

    image = DEFAULT

    def __init__(self, engine: PrivateEngine, seed: int) -> None:
        super().__init__()
        busybox_image(DEFAULT, engine.base_url)
        self.variables = {"RUNNER": "docker", "DOCKER_HOST": engine.base_url}
        self.base_url = engine.base_url
        self.quakes = Quakes(engine, seed)

    def watch(self, base: Path) -> Watch:
        return ContainerWatch(self.base_url)

    def leftovers(self) -> list[str]:
        return [str(found["Names"][0]) for found in listed(self.base_url)]


@contextmanager
def ground(runner: str, seed: int) -> Iterator[Ground]:
    """The ground for that runner, with its starts counted."""
    if runner != "docker":
        yield Ground()
        return
    with PrivateEngine() as engine:
        made = DockerGround(engine, seed)
        counting = StartCounter(engine.base_url, made)
        counting.start()
        try:
            yield made
        finally:
            counting.finish()


class Quakes(Actor):
    """Restarts the engine and removes running containers, now and then."""

    def __init__(self, engine: PrivateEngine, seed: int) -> None:
        super().__init__()
        self._engine = engine
        self._draw = drawn(seed, "quakes")
        self._first = True
        self.restarts = 0
        self.robbed: set[str] = set()
        """Names of the runs whose container was removed while it ran."""

    def act(self) -> float:
        if self._first:
            self._first = False
        elif self._draw.random() < 0.6:
            self._restart()
        else:
            self._rob()
        return self._draw.uniform(12, 45)

    def _restart(self) -> None:
        self._engine.end(self._draw.choice((signal.SIGKILL, signal.SIGTERM)))
        time.sleep(self._draw.uniform(0, 2.5))
        self._engine.start()
        self.restarts += 1

    def _rob(self) -> None:
        deadline = time.monotonic() + ROB_SECONDS
        while not (running := self._running()) and time.monotonic() < deadline:
            time.sleep(0.1)
        for victim in _one_of(running, self._draw):
            self.robbed.add(victim["Labels"].get(RUN_LABEL, ""))
            client = docker.APIClient(base_url=self._engine.base_url)
            with contextlib.closing(client), contextlib.suppress(docker.errors.APIError):
                client.remove_container(victim["Id"], force=True)

    def _running(self) -> list[dict[str, Any]]:
        return [one for one in listed(self._engine.base_url) if one["State"] == "running"]


class StartCounter(Actor):
    """Counts the engine's ``start`` events by the container's name, over all restarts of the engine."""

    def __init__(self, base_url: str, place: Ground) -> None:
        super().__init__()
        self._base_url = base_url
        self._place = place
        self._seen: set[tuple[str, int]] = set()
        self._since = int(time.time())

    def act(self) -> float:
        try:
            with reached(self._base_url) as client:
                self._follow(client)
        except NOT_NOW:
            pass  # the engine is away: look again at once
        return 0.05

    def _follow(self, client: docker.APIClient) -> None:
        # A stream of limited length, so that the soak's end is noticed.
        until = int(time.time()) + 3
        wanted = {"type": "container", "event": "start"}
        for event in client.events(since=self._since - 1, until=until, filters=wanted, decode=True):
            self._note(event)
        self._since = until

    def _note(self, event: dict[str, Any]) -> None:
        key = (event["id"], event["timeNano"])
        if key not in self._seen:
            self._seen.add(key)
            name = event["Actor"]["Attributes"]["name"]
            self._place.starts[name] += 1
            self._place.started[name] = event["timeNano"] / 1e9


class StartMarks(Actor):
    """Counts the marks that each run leaves in its folder on this machine, whether it is ever uploaded."""

    def __init__(self, base: Path) -> None:
        super().__init__()
        self._base = base
        self.marks: dict[str, int] = {}
        """Path of a run's folder → the most marks that were seen there."""

    def act(self) -> float:
        for path in present(self._base, "jobs/*/*/starts"):
            with contextlib.suppress(OSError):
                run = str(path.parent.relative_to(self._base))
                self.marks[run] = max(self.marks.get(run, 0), path.read_text().count("start"))
        return 0.1


def _one_of(found: list[dict[str, Any]], draw: random.Random) -> list[dict[str, Any]]:
    return [draw.choice(found)] if found else []
