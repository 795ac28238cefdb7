"""Looking at what the worker does from outside: what runs at once and within which limits, and its port."""

import contextlib
import json
import random
import re
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobfetcher.runners.epoch import start_time
from tests.soak.actors import Actor, drawn
from tests.soak.engine import NOT_NOW, RUN_LABEL, listed, reached

PAGES = ("", "api/status", "metrics", "healthz", "readyz", "no-such-page", "api/jobs/{}", "api/jobs/{}/log")
JOB_IDS = 40
"""Jobs that are asked for; not all of them are there."""
_LISTENING = re.compile(r'"status.listening".*"url": "(http://[^"]+)"')
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True)
class Limits:
    """What an engine holds a container to; 0: to nothing."""

    nano_cpus: int
    memory: int
    """Bytes."""
    swap: int
    """Bytes, memory included."""


class Watch(Actor):
    """Remembers the most runs that were at work at one time, and their limits."""

    def __init__(self) -> None:
        super().__init__()
        self.looks = 0
        self.most: tuple[str, ...] = ()
        """Names of the most runs that were seen at work at one time."""
        self.limits: dict[str, Limits] = {}
        """By the run's name; none where the runner sets none."""
        self.most_cpus = 0
        """Billionths of a core that all runs of one moment might use."""
        self.most_memory = 0
        """Bytes that they might use."""

    def act(self) -> float:
        running = tuple(sorted(self.running()))
        self.looks += bool(running)
        if len(running) > len(self.most):
            self.most = running
        limits = [self.limits[name] for name in running if name in self.limits]
        self.most_cpus = max(self.most_cpus, sum(one.nano_cpus for one in limits))
        self.most_memory = max(self.most_memory, sum(one.memory for one in limits))
        return 0.2

    def running(self) -> Iterable[str]:
        """Names of the runs that are at work now."""
        raise NotImplementedError


class ContainerWatch(Watch):
    """All containers of an engine that is the worker's alone. One listing is one moment."""

    def __init__(self, base_url: str) -> None:
        super().__init__()
        self._base_url = base_url

    def running(self) -> Iterable[str]:
        found = [one for one in listed(self._base_url) if one["State"] == "running"]
        for one in found:
            if (name := _run(one)) not in self.limits:
                self._inspect(name, one["Id"])
        return [_run(one) for one in found]

    def _inspect(self, name: str, container: str) -> None:
        with contextlib.suppress(*NOT_NOW), reached(self._base_url) as client:
            host = client.inspect_container(container)["HostConfig"]
            self.limits[name] = Limits(host["NanoCpus"], host["Memory"], host["MemorySwap"])


class ProcessWatch(Watch):
    """The processes that the runner's notes name, and that live."""

    def __init__(self, runs: Path) -> None:
        super().__init__()
        self._runs = runs

    def running(self) -> Iterable[str]:
        return [place.parent.name for place in present(self._runs, "[!.]*/shim.json") if _works(place)]


class Visitor(Actor):
    """Asks the worker's port for its pages, where a life has one open."""

    def __init__(self, log: Path, seed: int) -> None:
        super().__init__()
        self._log = log
        self._draw: random.Random = drawn(seed, "visitor")
        self._read = 0
        self._url: str | None = None
        self.answers: Counter[int] = Counter()
        """How often each code came."""

    def act(self) -> float:
        self._find()
        if self._url is not None:
            page = self._draw.choice(PAGES).format(self._draw.randint(1, JOB_IDS))
            self._visit(f"{self._url}{page}")
        return self._draw.uniform(0.1, 0.8)

    def _find(self) -> None:
        """Read on in the log: a life's port is another one than the last life's."""
        with contextlib.suppress(FileNotFoundError), self._log.open("rb") as log:
            log.seek(self._read)
            lines = log.read().splitlines(keepends=True)
            whole = [line for line in lines if line.endswith(b"\n")]
            self._read += sum(len(line) for line in whole)
            for line in whole:
                if found := _LISTENING.search(line.decode(errors="replace")):
                    self._url = found[1]

    def _visit(self, url: str) -> None:
        try:
            with _OPENER.open(url, timeout=10) as answer:
                answer.read()
                self.answers[answer.status] += 1
        except urllib.error.HTTPError as refusal:
            with refusal:
                self.answers[refusal.code] += 1
        except (OSError, urllib.error.URLError):
            self._url = None  # that life is over, or dies at this moment


def present(base: Path, pattern: str) -> list[Path]:
    """What is there, of that pattern below ``base``; looked for anew if a folder goes meanwhile."""
    while True:
        with contextlib.suppress(FileNotFoundError):
            return list(base.glob(pattern))


def _run(container: dict[str, Any]) -> str:
    return str(container["Labels"].get(RUN_LABEL, container["Names"][0]))


def _works(shim: Path) -> bool:
    try:
        about = json.loads(shim.read_text())
    except (OSError, ValueError):
        return False
    lives = start_time(about["pid"]) == about["start"]
    return lives and not (shim.parent / "exit.json").exists()
