"""Where the boxes and arrows of the machine go, wide or tall. The page puts the jobs into the boxes.

Live states lie in a row in the order of the table, the first end that they lead to closes it, and the
other ends lie beside it, each reached over a line of its own. All numbers are pixels of the drawing.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from states.job import JobState
from states.table import LIVE, TABLE, TERMINAL, Edge, Row


@dataclass(frozen=True)
class Box:
    """A state."""

    state: JobState
    x: float
    y: float
    width: float
    height: float

    @property
    def right(self) -> float:
        return self.x + self.width

    @property
    def bottom(self) -> float:
        return self.y + self.height

    @property
    def middle(self) -> tuple[float, float]:
        return self.x + self.width / 2, self.y + self.height / 2


@dataclass(frozen=True)
class Arrow:
    """The edges from one state to another."""

    source: JobState
    target: JobState
    path: str
    """For ``d=`` of an SVG path."""
    label: str
    """Empty where the line speaks for itself."""
    at: tuple[float, float]
    """Where the label goes."""
    meaning: str
    """All its triggers, for a tooltip."""
    kind: str
    """``onward``, ``back``, or ``aside``: to an end that was not hoped for."""


@dataclass(frozen=True)
class Layout:
    """The whole drawing."""

    name: str
    width: float
    height: float
    boxes: tuple[Box, ...]
    arrows: tuple[Arrow, ...]


Table = Mapping[JobState, Row]


def wide(table: Table = TABLE) -> Layout:
    """From left to right, for a screen: ends above and below the row's last box."""
    live, end, others = _parts(table)
    step, box, middle, height = 252.0, 172.0, 116.0, 134.0
    row = [Box(state, 12 + at * step, middle, box, height) for at, state in enumerate(live)]
    last = 12 + len(live) * step
    ends = {end: Box(end, last, middle, box, height)}
    for at, state in enumerate(others):
        ends[state] = Box(state, last, 12 if at % 2 else middle + height + 44, box, 60)
    boxes = {box.state: box for box in [*row, *ends.values()]}
    arrows = [_wide(boxes[source], boxes[target], edges, live) for source, target, edges in _edges(table)]
    size = last + box + 12, middle + height + 44 + 60 + 12
    return Layout("wide", *size, tuple(boxes.values()), tuple(arrows))


def tall(table: Table = TABLE) -> Layout:
    """From top to bottom, for a phone: all ends at the foot."""
    live, end, others = _parts(table)
    width, box, height, step = 380.0, 244.0, 84.0, 122.0
    left = (width - box) / 2
    row = [Box(state, left, 8 + at * step, box, height) for at, state in enumerate(live)]
    foot = 8 + len(live) * step + 8
    ends = {end: Box(end, (width - 116) / 2, foot, 116, 70)}
    for at, state in enumerate(others):
        ends[state] = Box(state, 8 if at % 2 else width - 8 - 112, foot, 112, 70)
    boxes = {box.state: box for box in [*row, *ends.values()]}
    arrows = [_tall(boxes[source], boxes[target], edges, live) for source, target, edges in _edges(table)]
    return Layout("tall", width, foot + 70 + 8, tuple(boxes.values()), tuple(arrows))


def _parts(table: Table) -> tuple[list[JobState], JobState, list[JobState]]:
    """The live states, the end that they lead to, and the other ends."""
    live = [state for state, row in table.items() if row.edges]
    end = next(edge.target for edge in table[live[-1]].edges if edge.target not in live)
    return live, end, [state for state in table if state not in live and state is not end]


def _edges(table: Table) -> list[tuple[JobState, JobState, list[Edge]]]:
    """Those between the same two states together."""
    between: dict[tuple[JobState, JobState], list[Edge]] = defaultdict(list)
    for source, row in table.items():
        for edge in row.edges:
            between[source, edge.target].append(edge)
    return [(source, target, edges) for (source, target), edges in between.items()]


def _meaning(edges: list[Edge]) -> str:
    return " or ".join(
        f"{edge.trigger} ({edge.when.__name__.replace('_', ' ')})" if edge.when else str(edge.trigger)
        for edge in edges
    )


def _wide(source: Box, target: Box, edges: list[Edge], live: list[JobState]) -> Arrow:
    meaning, label = _meaning(edges), str(edges[0].trigger)
    y = source.middle[1]
    if target.y == source.y and target.x > source.x:
        path = f"M{source.right} {y} H{target.x - 7}"
        at = ((source.right + target.x) / 2 - 2, y - 9)
        return Arrow(source.state, target.state, path, label, at, meaning, "onward")
    if target.state in live:
        start, end, low = source.x + 34, target.right - 34, source.bottom
        path = f"M{start} {low} C{start} {low + 40} {end} {low + 40} {end} {low + 7}"
        return Arrow(source.state, target.state, path, label, ((start + end) / 2, low + 24), meaning, "back")
    edge = source.bottom if target.y > source.y else source.y
    x, line = source.middle[0], target.middle[1]
    turn = 10 if line > edge else -10
    path = f"M{x} {edge} V{line - turn} Q{x} {line} {x + 10} {line} H{target.x - 7}"
    return Arrow(source.state, target.state, path, "", (x, line), meaning, "aside")


def _tall(source: Box, target: Box, edges: list[Edge], live: list[JobState]) -> Arrow:
    meaning, label = _meaning(edges), str(edges[0].trigger)
    x, y = source.middle
    if target.y > source.y and target.middle[0] == x:
        path = f"M{x} {source.bottom} V{target.y - 7}"
        at = (x + 8, (source.bottom + target.y) / 2 + 3)
        return Arrow(source.state, target.state, path, label, at, meaning, "onward")
    if target.state in live:
        start, end, out = source.y + 20, target.bottom - 20, source.right + 48
        path = f"M{source.right} {start} C{out} {start} {out} {end} {target.right + 7} {end}"
        at = (source.right + 8, (start + end) / 2 + 4)
        return Arrow(source.state, target.state, path, label, at, meaning, "back")
    right = target.x > source.x
    edge, line = (source.right, target.right - 14) if right else (source.x, target.x + 14)
    turn = 10 if right else -10
    path = f"M{edge} {y} H{line - turn} Q{line} {y} {line} {y + 10} V{target.y - 7}"
    return Arrow(source.state, target.state, path, "", (line, y), meaning, "aside")


def is_end(state: JobState) -> bool:
    """Jobs stay there."""
    return state in TERMINAL and state not in LIVE
