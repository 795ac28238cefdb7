"""What a stream of events proves of a container, and what it does not."""

from typing import Any

import pytest

from jobfetcher.runners.story import Stories, Story

WELL = Story(started=10_000_000_000, ended=12_500_000_000, code=0)


def event(action: str, second: float = 0, container: str = "a", **attributes: str) -> dict[str, Any]:
    actor = {"ID": container, "Attributes": {"name": "n", **attributes}}
    return {"Type": "container", "Action": action, "Actor": actor, "timeNano": int(second * 10**9)}


CREATE, START, DIE = event("create", 9), event("start", 10), event("die", 12.5, exitCode="0")


def told(*events: dict[str, Any]) -> Story | None:
    stories = Stories()
    for said in events:
        stories.hear(said)
    return stories.of("a")


def test_a_whole_life_is_told() -> None:
    """From the start on, with the engine's own moments and the exit code."""
    assert told(CREATE) is None
    assert told(CREATE, START) == Story(started=10_000_000_000)
    assert told(CREATE, START, DIE) == WELL
    assert told(START, event("die", 11, exitCode="137")) == Story(10_000_000_000, 11_000_000_000, 137)


def test_each_container_has_its_own() -> None:
    """What is said of another changes nothing."""
    assert told(START, event("kill", 11, "b"), event("start", 11, "b"), DIE) == WELL


@pytest.mark.row(20)
@pytest.mark.parametrize(
    "action", ["oom", "kill", "pause", "restart", "update", "exec_create: sh", "", "new"]
)
def test_whatever_else_is_said_spoils_it(action: str) -> None:
    """Memory ran out, somebody sent a signal, or an event that nobody knows: the end proves nothing."""
    assert told(START, event(action, 11), DIE) is None
    assert told(START, DIE, event(action, 13)) is None


@pytest.mark.row(17)
@pytest.mark.parametrize(
    "events",
    [
        pytest.param([DIE], id="its start was not heard"),
        pytest.param([DIE, START, DIE], id="late news of an earlier run"),
        pytest.param([START, DIE, DIE], id="two ends"),
        pytest.param([START, DIE, START], id="started once more"),
        pytest.param([START, DIE, START, DIE], id="and ended once more"),
        pytest.param([START, event("die", 11)], id="no exit code"),
        pytest.param([START, event("die", 11, exitCode="-1")], id="no proper one"),
    ],
)
def test_only_one_start_and_one_end_are_a_life(events: list[dict[str, Any]]) -> None:
    """A container that somebody starts again, or news of an earlier run, is looked at."""
    assert told(*events) is None


@pytest.mark.row(22)
def test_what_is_removed_is_forgotten() -> None:
    """Nothing is kept of it, and nothing can be told."""
    stories = Stories()
    for said in (START, DIE, event("destroy", 13)):
        stories.hear(said)

    assert stories.of("a") is None
    assert vars(stories) == vars(Stories())
