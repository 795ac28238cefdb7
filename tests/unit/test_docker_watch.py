"""A worker's one stream of events: whom it wakes, when it is opened, and what is known while it lives."""

import json
import queue
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import pytest

from jobfetcher.runners.engine import Bell, Engine, Stream, StreamBroken
from jobfetcher.runners.story import Story
from jobfetcher.runners.watch import OneStream
from states.errors import Paused

DEADLINE = 30.0
LABELS = {"worker": "w"}


class FakeStream:
    """Says what it is fed."""

    def __init__(self) -> None:
        self._fed: queue.Queue[bytes | Exception] = queue.Queue()

    def feed(self, said: bytes | Exception) -> None:
        self._fed.put(said)

    def shutdown(self) -> None:
        self.feed(StreamBroken("shut down"))

    def chunks(self) -> Iterator[bytes]:
        while not isinstance(said := self._fed.get(timeout=DEADLINE), Exception):
            yield said
        raise said


class FakeEngine:
    """Counts what it is asked."""

    def __init__(self) -> None:
        self.asked: list[object] = []
        self.streams: list[FakeStream] = []
        self.away = False

    def life(self) -> str:
        self.asked.append("life")
        return f"life {len(self.streams)}"

    @contextmanager
    def events(self, labels: Mapping[str, str]) -> Iterator[Stream]:
        if self.away:
            raise Paused("The engine is away.")
        self.asked.append(labels)
        self.streams.append(FakeStream())
        yield self.streams[-1]


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def watch(engine: FakeEngine) -> Iterator[OneStream]:
    watch = OneStream(cast(Engine, engine), LABELS)
    yield watch
    watch.renew()


def said(action: str, container: str, **attributes: str) -> bytes:
    actor = {"ID": container, "Attributes": attributes}
    event: dict[str, Any] = {"Type": "container", "Action": action, "Actor": actor, "timeNano": 5 * 10**9}
    return json.dumps(event).encode() + b"\n"


def died(container: str) -> bytes:
    return said("die", container, exitCode="0")


def rings(bell: Bell) -> bool:
    return bell.wait(DEADLINE)


def silent(bell: Bell) -> bool:
    return not bell.wait(0)


def test_each_is_woken_for_its_own_container(engine: FakeEngine, watch: OneStream) -> None:
    """One stream serves all who wait, and wakes nobody for another's end."""
    with watch.expecting("a") as a, watch.expecting("b") as b, watch.expecting("c") as c:
        engine.streams[0].feed(died("nobody's") + died("a"))
        assert rings(a)
        assert silent(b)
        engine.streams[0].feed(died("b"))
        assert rings(b)
        assert silent(c)

    assert engine.asked == [LABELS, "life"]


def test_an_event_may_come_in_pieces(engine: FakeEngine, watch: OneStream) -> None:
    """What is cut anywhere is put together."""
    with watch.expecting("a") as bell:
        whole = died("a")
        engine.streams[0].feed(whole[:9])
        engine.streams[0].feed(whole[9:])

        assert rings(bell)


def test_the_life_is_asked_once_for_each_stream(engine: FakeEngine, watch: OneStream) -> None:
    """While the stream lives nothing is asked. It is opened before the life is asked for, so that a restart
    in between breaks it."""
    assert [watch.life() for _ in range(3)] == ["life 1"] * 3
    assert engine.asked == [LABELS, "life"]


@pytest.mark.row(40)
def test_the_end_of_the_stream_wakes_all_and_is_forgotten(engine: FakeEngine, watch: OneStream) -> None:
    """Whatever ended it, everybody looks; who waits on has it opened anew, and the life asked for again."""
    with watch.expecting("a") as a, watch.expecting("b") as b:
        engine.streams[0].feed(StreamBroken("the engine died"))
        assert rings(a)
        assert rings(b)

    with watch.expecting("a") as again:
        assert watch.life() == "life 2"
        assert silent(again)


def test_a_life_that_the_stream_heard_is_told(engine: FakeEngine, watch: OneStream) -> None:
    """Whoever is woken by the end finds the story of the whole."""
    with watch.expecting("a") as bell:
        engine.streams[0].feed(said("start", "a") + died("a"))

        assert rings(bell)
        assert watch.story("a") == Story(started=5 * 10**9, ended=5 * 10**9, code=0)


def test_the_first_word_of_a_container_is_waited_for(engine: FakeEngine, watch: OneStream) -> None:
    """The answer to a start may come before the event. The end of the stream ends the wait, too."""
    watch.life()
    threading.Timer(0.05, engine.streams[0].feed, [said("start", "a")]).start()
    assert watch.story("a", DEADLINE) == Story(started=5 * 10**9)

    threading.Timer(0.05, engine.streams[0].feed, [StreamBroken("the engine died")]).start()
    assert watch.story("b", DEADLINE) is None


@pytest.mark.row(40)
def test_a_stream_tells_nothing_of_what_an_earlier_one_heard(engine: FakeEngine, watch: OneStream) -> None:
    """A start on the one and an end on the other prove nothing: anything may have happened in between."""
    with watch.expecting("a") as bell:
        engine.streams[0].feed(said("start", "a"))
        engine.streams[0].feed(StreamBroken("the engine died"))
        assert rings(bell)

    with watch.expecting("a") as bell:
        engine.streams[1].feed(died("a"))

        assert rings(bell)
        assert watch.story("a") is None


def test_a_stream_that_was_given_up_tells_nothing(engine: FakeEngine, watch: OneStream) -> None:
    """Also what it says afterwards is not taken for the new one's word."""
    with watch.expecting("a") as bell:
        engine.streams[0].feed(said("start", "a") + died("a"))
        assert rings(bell)

    watch.renew()

    assert watch.story("a") is None


def test_nobody_needs_it_nobody_opens_it(engine: FakeEngine, watch: OneStream) -> None:
    """After its end the stream stays closed."""
    with watch.expecting("a") as bell:
        engine.streams[0].feed(StreamBroken("the engine died"))
        assert rings(bell)

    assert len(engine.streams) == 1


@pytest.mark.row(43)
def test_an_engine_that_is_away_pauses(engine: FakeEngine, watch: OneStream) -> None:
    """Who wants to wait is told so; once it is back it is asked anew."""
    engine.away = True
    with pytest.raises(Paused, match="away"), watch.expecting("a"):
        pass
    engine.away = False

    assert watch.life() == "life 1"


def test_what_is_doubted_is_asked_again(engine: FakeEngine, watch: OneStream) -> None:
    """Also while the old stream says nothing of its own end."""
    watch.life()
    watch.renew()

    assert watch.life() == "life 2"


def test_an_event_that_cannot_be_read_wakes_all(
    engine: FakeEngine, watch: OneStream, caplog: pytest.LogCaptureFixture
) -> None:
    """It may have been anybody's."""
    with watch.expecting("a") as bell:
        engine.streams[0].feed(b"<html>\n")

        assert rings(bell)
    assert [record.getMessage() for record in caplog.records] == ["events.bug"]
