"""The operator: cancels, repeats uploads, drains, resumes and prunes, whether the worker lives or not."""

import json
import random
import sqlite3
import time
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from persistence.errors import StoreUnavailable, StoreUnusable
from persistence.reader import open_reader
from persistence.requests import Answer, Operator
from persistence.rows import JobRow
from states.table import LIVE
from tests.soak.actors import Actor, drawn

KINDS = {"cancel": 30, "retry-upload": 34, "drain": 20, "prune": 16}
"""What is asked for, and how often; each ``drain`` is followed by a ``resume``."""
DRAINED_SECONDS = ((1.0, 4.0), (1.0, 4.0), (4.0, 14.0))
PAUSE_SECONDS = (0.6, 3.2)
LATELY = 15
"""Jobs among which one is picked to be uploaded once more."""


@dataclass(frozen=True)
class Asked:
    """One request."""

    id: int
    kind: str
    key: int | None = None
    """The job's, in the database."""
    reason: str = ""
    """What its owner is to be told."""


@dataclass(frozen=True)
class Done:
    """A request as the database has it. ``at`` is in seconds since the epoch."""

    at: float
    text: str
    refused: bool


class Operating(Actor):
    """Asks for something every few seconds, and remembers each answer as it first saw it."""

    def __init__(self, base: Path, seed: int) -> None:
        super().__init__()
        self._base = base
        self._seed = seed
        self._draw = drawn(seed, "operator")
        self._resumes_at: float | None = None
        self.asked: list[Asked] = []
        self.first_seen: dict[int, Answer] = {}

    def act(self) -> float:
        # Before its first start, and while the worker is being made, there is nothing to ask.
        with suppress(StoreUnusable, StoreUnavailable, FileNotFoundError):
            self._look()
            if self._resumes_at is not None and time.monotonic() > self._resumes_at:
                self.resume()
            else:
                self._ask_for(self._draw.choices(list(KINDS), list(KINDS.values()))[0])
        return self._draw.uniform(*PAUSE_SECONDS)

    def resume(self) -> None:
        """Ask for it, if the worker was drained."""
        if self._resumes_at is not None:
            self.ask("resume")
            self._resumes_at = None

    def ask(self, kind: str, key: int | None = None, reason: str = "", **arguments: object) -> None:
        """Put one request on record."""
        worker = (self._base / "worker-id").read_text().strip()
        with Operator(self._base / "jobfetcher.db") as operator:
            number = operator.ask(worker, kind, key, **arguments, **({"reason": reason} if reason else {}))
        self.asked.append(Asked(number, kind, key, reason))

    def unanswered(self) -> list[int]:
        """Numbers of the requests that are open."""
        self._look()
        return [asked.id for asked in self.asked if asked.id not in self.first_seen]

    def _look(self) -> None:
        with Operator(self._base / "jobfetcher.db") as operator:
            for asked in self.asked:
                if asked.id not in self.first_seen and (answer := operator.answer_to(asked.id)):
                    self.first_seen[asked.id] = answer

    def _ask_for(self, kind: str) -> None:
        if kind == "drain":
            if self._resumes_at is None:
                self.ask("drain")
                self._resumes_at = time.monotonic() + self._draw.uniform(*self._draw.choice(DRAINED_SECONDS))
        elif kind == "prune":
            self.ask("prune", dry_run=self._draw.random() < 0.25, history=self._draw.choice((None, 0)))
        elif victim := self._picked(live=kind == "cancel"):
            self._ask_about(kind, victim)

    def _ask_about(self, kind: str, job: JobRow) -> None:
        if kind == "cancel":
            self.ask(kind, job.key, f"soak {self._seed}, request {len(self.asked) + 1}")
        else:
            self.ask(kind, job.key, all=self._draw.random() < 0.5)

    def _picked(self, live: bool) -> JobRow | None:
        with open_reader(self._base / "jobfetcher.db") as reader:
            found = reader.jobs({str(state) for state in LIVE} if live else None, limit=LATELY)
        return _one_of(found, self._draw)


def done(file: Path) -> dict[int, Done]:
    """All answers of the database, by the request's number."""
    with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        rows = connection.execute("SELECT id, done_at, answer, refused FROM requests WHERE done_at NOT NULL")
        return {
            number: Done(at, json.loads(said)["text"], bool(refused)) for number, at, said, refused in rows
        }


def _one_of(found: list[JobRow], draw: random.Random) -> JobRow | None:
    return draw.choice(found) if found else None
