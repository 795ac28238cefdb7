"""The benchmarks that need no engine and little time, run once, small, so that they cannot rot.

Only the shape of what comes out is looked at, never a time.
"""

import json
from pathlib import Path

import pytest

from bench.__main__ import main
from bench.measure import Goal, interleaved, percentile, row

BRIEF = ("moves", "big-down", "big-up", "small", "commands", "broken")


@pytest.mark.parametrize("name", BRIEF)
def test_a_benchmark_gives_complete_rows(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each row has all its fields, its ratio is that of its figures, and the table has a line for it."""
    results = tmp_path / "results.json"

    options = ["--quick", "--markdown", "--folder", str(tmp_path), "--results", str(results)]
    code = main([*options, "--only", name])
    rows = json.loads(results.read_text())

    assert code == 0
    assert rows != []
    for found in rows:
        assert ["name", "ours", "floor", "ratio", "goal", "met", "unit"] == list(found)
        if found["ratio"] is not None:
            assert pytest.approx(found["ours"] / found["floor"]) == found["ratio"]
    assert len(rows) == capsys.readouterr().out.count("\n") - 2


def test_what_is_compared_takes_turns() -> None:
    """Every thing is measured equally often, and each of them goes first in its turn."""
    order: list[str] = []

    def work(name: str) -> float:
        order.append(name)
        return len(order)

    samples = interleaved(2, lambda: work("a"), lambda: work("b"))

    assert ["a", "b", "b", "a"] == order
    assert [[1, 4], [2, 3]] == samples


def test_a_row_compares_medians() -> None:
    """One slow sample does not decide; a goal may be an upper or a lower limit, of the ratio or of ours."""
    found = row("name", "s", [2.0, 1.0, 99.0], [1.0, 1.0, 4.0], Goal(2))

    assert (2.0, 1.0, 2.0, "≤ 2 x", True) == (found.ours, found.floor, found.ratio, found.goal, found.met)
    assert not row("name", "s", [2.0], [1.0], Goal(1.9)).met
    assert row("name", "moves/s", [2.0], [4.0], Goal(0.5, least=True)).met
    assert not row("name", "MiB", [20.0], None, Goal(16, "ours")).met


@pytest.mark.parametrize(("share", "expected"), [(0.5, 2), (0.95, 4), (0.25, 1), (1.0, 4)])
def test_a_percentile_is_a_sample(share: float, expected: float) -> None:
    """It is the smallest that so many do not exceed."""
    assert expected == percentile([4, 1, 3, 2], share)
