"""The diagram is the table, drawn."""

import re

from states.diagram import dot, mermaid, text
from states.job import JobState
from states.table import TABLE, TERMINAL

EDGES = sorted((source, edge.target) for source, row in TABLE.items() for edge in row.edges)
PATH = [(JobState.FETCHED, JobState.DOWNLOADING), (JobState.DOWNLOADING, JobState.RUNNING)]


def test_mermaid_draws_each_edge_once() -> None:
    """No edge of the table is missing, none is invented."""
    drawn = sorted(re.findall(r"^    (\w+) --> (\w+):", mermaid(), re.MULTILINE))

    assert drawn == EDGES


def test_mermaid_draws_where_a_life_begins_and_ends() -> None:
    """One beginning, and every terminal state is an end."""
    drawn = mermaid()

    assert re.findall(r"^    \[\*\] --> (\w+)$", drawn, re.MULTILINE) == ["fetched"]
    assert set(re.findall(r"^    (\w+) --> \[\*\]$", drawn, re.MULTILINE)) == TERMINAL


def test_mermaid_names_the_condition_of_an_edge() -> None:
    """A reader sees what chooses between two edges of one trigger."""
    assert "running --> downloading: lost [reruns left]" in mermaid()


def test_mermaid_numbers_the_moves_of_a_path() -> None:
    """A job's way through the machine can be followed."""
    drawn = mermaid(PATH)

    assert re.findall(r"(\w+) --> (\w+): (\d)\. ", drawn) == [
        ("fetched", "downloading", "1"),
        ("downloading", "running", "2"),
    ]


def test_mermaid_marks_the_current_state() -> None:
    """Where the job is now stands out; without a job nothing does."""
    assert mermaid(current=JobState.RUNNING).endswith("    class running current\n")
    assert "current" not in mermaid()


def test_dot_draws_each_edge_once() -> None:
    """The second notation draws the same machine."""
    drawn = sorted(re.findall(r"^    (\w+) -> (\w+) ", dot(), re.MULTILINE))

    assert drawn == EDGES


def test_dot_draws_ends_with_a_double_line() -> None:
    """Terminal states look different."""
    assert set(re.findall(r"(\w+) \[.*peripheries=2", dot())) == TERMINAL


def test_dot_marks_path_and_current_state() -> None:
    """The moves of a path are bold, the current state is coloured, and nothing else is."""
    drawn = dot(PATH, current=JobState.RUNNING)

    assert re.findall(r"(\w+) -> (\w+) .*penwidth", drawn) == [
        ("fetched", "downloading"),
        ("downloading", "running"),
    ]
    assert re.findall(r"(\w+) \[.*color=", drawn) == ["running"]


def test_dot_is_balanced() -> None:
    """What is opened is closed: Graphviz reads it."""
    drawn = dot(PATH)

    assert (drawn.count("{"), drawn.count("["), drawn.count('"') % 2) == (
        drawn.count("}"),
        drawn.count("]"),
        0,
    )


def test_text_lists_each_state_with_its_ways_out() -> None:
    """In a terminal, too, the whole table is there, in its order."""
    lines = text().splitlines()
    states = [line.split()[0] for line in lines if "the API is told" in line]
    ways = [line.split(" -> ")[1] for line in lines if " -> " in line]

    assert states == list(TABLE)
    assert ways == [edge.target for row in TABLE.values() for edge in row.edges]


def test_text_marks_path_and_current_state() -> None:
    """A star for each move that the job made, an arrow's head where it is."""
    lines = text(PATH, current=JobState.RUNNING).splitlines()

    assert [line.split()[1] for line in lines if line.startswith("  *")] == ["accepted", "downloaded"]
    assert [line.split()[1] for line in lines if line.startswith(">")] == ["running"]
