"""The picture of the machine is drawn from its table: nothing is missing, nothing lies on another."""

import itertools
from xml.etree import ElementTree

import pytest

from jobfetcher.status import drawing
from jobfetcher.status.layout import Box, Layout, tall, wide
from states.job import JobState
from states.table import TABLE

LAYOUTS = pytest.mark.parametrize("layout", [wide(), tall()], ids=["wide", "tall"])


@LAYOUTS
def test_each_state_has_its_box(layout: Layout) -> None:
    """One for each row of the table."""
    assert sorted(TABLE) == sorted(box.state for box in layout.boxes)


@LAYOUTS
def test_each_edge_has_its_arrow(layout: Layout) -> None:
    """Edges between the same two states share one, and its tooltip names every trigger."""
    drawn = {(arrow.source, arrow.target): arrow.meaning for arrow in layout.arrows}

    for state, row in TABLE.items():
        for edge in row.edges:
            assert str(edge.trigger) in drawn[state, edge.target]
    assert len(drawn) == len({(state, edge.target) for state, row in TABLE.items() for edge in row.edges})


@LAYOUTS
def test_boxes_lie_apart_and_inside(layout: Layout) -> None:
    """No two overlap, and all of each is seen."""
    for one, other in itertools.combinations(layout.boxes, 2):
        assert apart(one, other), f"{one} lies on {other}"
    for box in layout.boxes:
        assert 0 <= box.x < box.right <= layout.width
        assert 0 <= box.y < box.bottom <= layout.height


def apart(one: Box, other: Box) -> bool:
    return one.right <= other.x or other.right <= one.x or one.bottom <= other.y or other.bottom <= one.y


@LAYOUTS
def test_the_live_path_is_a_row(layout: Layout) -> None:
    """The states of a job that goes well follow each other, the last of them its end."""
    place = {box.state: (box.x, box.y) for box in layout.boxes}
    way = [JobState.FETCHED, JobState.DOWNLOADING, JobState.RUNNING, JobState.UPLOADING, JobState.FINISHED]
    steps = [place[state] for state in way]

    assert steps == sorted(steps)


def test_the_drawings_are_well_formed() -> None:
    """Both parse, and no identifier is used twice on the page."""
    root = ElementTree.fromstring(f"<page>{drawing.both()}</page>")
    ids = [element.get("id") for element in root.iter() if element.get("id")]

    assert ["machine wide", "machine tall"] == [svg.get("class") for svg in root]
    assert len(ids) == len(set(ids))
