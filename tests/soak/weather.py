"""Random faults of the API: scripted in the mock, one every few seconds."""

import random
from collections import Counter
from collections.abc import Callable
from typing import Any

from mock_api.client import MockControl
from tests.soak.actors import Actor, drawn

PENDING = 10
"""Faults that may wait for a request to spoil."""
MEAN_SECONDS = 1.2
"""Between two faults."""
_STATUS = r"/status$"
_DOWNLOAD = r"/download$"
_ROUTES = (
    _STATUS,
    r"^/jobs$",
    r"/files/.*/url$",
    r"/jobs/.*/url$",
    _DOWNLOAD,
    r"/upload$",
    r"^/access_info$",
)

Scripted = tuple[str, str, dict[str, Any]]
"""Kind, path, settings."""


def _later(draw: random.Random) -> Scripted:
    settings = {"code": draw.choice((500, 502, 503, 504)), "times": draw.randint(1, 3)}
    return "status", draw.choice(_ROUTES), settings


def _done_but_500(draw: random.Random) -> Scripted:
    path = draw.choice((_STATUS, r"^/jobs$", r"/files/url$", r"/upload$"))
    return "status_after_work", path, {"code": 500}


def _lost(draw: random.Random) -> Scripted:
    return "lose_response", draw.choice(_ROUTES), {}


def _reset(draw: random.Random) -> Scripted:
    return "reset", draw.choice(_ROUTES), {"times": draw.randint(1, 2)}


def _cut(draw: random.Random) -> Scripted:
    return "cut_body_after", _DOWNLOAD, {"bytes": draw.randint(0, 100_000), "times": draw.randint(1, 2)}


def _busy(draw: random.Random) -> Scripted:
    return "status", draw.choice(_ROUTES), {"code": 429, "headers": {"Retry-After": str(draw.randint(0, 2))}}


def _portal(draw: random.Random) -> Scripted:
    page = {"code": 200, "body": "<html>Please sign in.</html>", "content_type": "text/html"}
    return "status", draw.choice((_STATUS, r"^/jobs$", r"/url$")), page


def _hang(draw: random.Random) -> Scripted:
    return "hang", draw.choice(_ROUTES), {"seconds": draw.uniform(0.5, 4)}


def _slow(draw: random.Random) -> Scripted:
    return "slow", _DOWNLOAD, {"bytes_per_second": draw.randint(100_000, 500_000)}


def _outage(draw: random.Random) -> Scripted:
    return "refuse", "", {"seconds": draw.choice((0.5, 2, 4, 4, 10))}


KINDS: dict[Callable[[random.Random], Scripted], int] = {
    _later: 24,
    _done_but_500: 10,
    _lost: 16,
    _reset: 14,
    _cut: 10,
    _busy: 6,
    _portal: 4,
    _hang: 6,
    _slow: 3,
    _outage: 3,
}
EXPIRY = 0.05
"""Share of the steps in which all tokens end instead."""


class Weather(Actor):
    """Makes the API as bad as it may become."""

    def __init__(self, control: MockControl, seed: int) -> None:
        super().__init__()
        self._control = control
        self._draw = drawn(seed, "weather")
        self._expired = 0

    def act(self) -> float:
        if self._draw.random() < EXPIRY:
            self._control.expire_tokens()
            self._expired += 1
        else:
            self._script()
        return self._draw.expovariate(1 / MEAN_SECONDS)

    def clear_up(self) -> Counter[str]:
        """Stop all faults. Returns how often each kind was played."""
        played = Counter({"tokens ended": self._expired})
        for report in self._control.faults():
            played[report.kind] += report.fired
        self._control.clear_faults()
        return played

    def _script(self) -> None:
        kind = self._draw.choices(list(KINDS), list(KINDS.values()))[0]
        name, path, settings = kind(self._draw)
        if sum(report.left != 0 for report in self._control.faults()) < PENDING:
            self._control.fault(name, path or None, **settings)
