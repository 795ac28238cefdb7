"""Some benchmarks that need no engine, run once and small ("make bench-smoke" runs all), and what they print.

Only the shape of what comes out is looked at, never a time.
"""

import json
import time
import urllib.request
from pathlib import Path

import pytest

from bench import pages, peers, table
from bench.__main__ import chosen, main
from bench.link import Link, Stall
from bench.measure import Goal, Row, interleaved, percentile, row
from bench.server import FastApi

BRIEF = ("moves", "broken", "commands", "link", "large", "fleet")


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


def test_a_row_may_have_no_goal_and_no_figures() -> None:
    """A peer has no goal to meet, and one that cannot be installed has no figures either."""
    peer, missing = row("peer", "s", [2.0], [1.0], None), Row("gone (why)", None, None, None, "-", None, "s")

    assert ("peer", "s", "2", "1", "2", "-", "-") == table.cells(peer)
    assert ("gone (why)", "s", "-", "-", "-", "-", "-") == table.cells(missing)


def test_a_later_run_replaces_its_own_rows_only(tmp_path: Path) -> None:
    """What was kept is read back as it was; rows are known by their names."""
    old = [row("a", "s", [1.0], None, Goal(2, "ours")), row("b", "s", [1.0], [1.0], Goal(2))]
    new = [row("b", "s", [3.0], [1.0], Goal(2)), row("c", "s", [1.0], None, None)]
    table.write(old, tmp_path / "kept.json")

    found = table.merged(table.read(tmp_path / "kept.json"), new)

    assert [old[0], *new] == found


def test_the_page_and_its_picture_are_made_from_the_figures(tmp_path: Path) -> None:
    """Without measuring anything, and the same each time; the rest of the page stays."""
    results, page, picture = (tmp_path / name for name in ("r.json", "page.md", "p.svg"))
    table.write([row("fast", "s", [1.0], [2.0], Goal(1)), row("idle", "%", [1.0], None, None)], results)
    page.write_text("before\n<!-- bench-table -->\nold\n<!-- end of bench-table -->\nafter\n")
    command = ["--from-results", "--results", str(results), "--plot", str(picture), "--write-docs", str(page)]

    drawn = []
    for _ in range(2):
        assert main(command) == 0
        drawn.append((picture.read_bytes(), page.read_text()))

    assert drawn[0] == drawn[1]
    assert drawn[0][1].startswith("before\n<!-- bench-table -->\n\n| what |")
    assert drawn[0][1].endswith("| idle | % | 1 | - | - | - | - |\n\n<!-- end of bench-table -->\nafter\n")


def test_a_page_without_a_place_for_the_table_is_refused(tmp_path: Path) -> None:
    """It is left as it was."""
    page = tmp_path / "page.md"
    page.write_text("text\n")

    with pytest.raises(ValueError, match="has no place for the table"):
        pages.renew(page, "bench-table", "new")

    assert "text\n" == page.read_text()


def test_a_quick_run_installs_nothing() -> None:
    """Peers are left out of it unless they are asked for."""
    assert "peers" not in chosen(None, quick=True)
    assert "peers" in chosen(None, quick=False)
    assert ["peers"] == chosen(["peers"], quick=True)


def test_a_peer_is_given_as_many_jobs_as_it_is_to_run() -> None:
    """One tool for one job, a scatter for several; each program is told how many."""
    commands = {peer.name: (peer.command(1, "new"), peer.command(3, "new")) for peer in peers.PEERS}

    assert ["cwltool", "--disable-pull", "--outdir", "new", "one.cwl"] == commands["cwltool"][0]
    assert ["many.cwl", "many.json"] == commands["toil"][1][-2:]
    assert "jobs=3" == commands["miniwdl"][1][-1]
    assert {"numbers": [0, 1, 2]} == json.loads(peers.documents(3)["many.json"])


def test_bytes_arrive_over_the_link_as_they_were_sent_and_not_too_soon(tmp_path: Path) -> None:
    """The window bounds how fast: a file of four windows needs at least four delays."""
    source = tmp_path / "file"
    source.write_bytes(bytes(range(256)) * 512)
    with FastApi({"file": source}) as api, Link(api.url, delay=0.1, window=32 * 1024) as link:
        began = time.monotonic()
        with urllib.request.urlopen(f"{link.url}/raw/file") as answer:
            found = answer.read()

    assert source.read_bytes() == found
    assert time.monotonic() - began >= 0.4


def test_one_connection_of_the_link_falls_silent(tmp_path: Path) -> None:
    """Once, and without being closed: another one goes on meanwhile."""
    source = tmp_path / "file"
    source.write_bytes(bytes(512 * 1024))
    with FastApi({"file": source}) as api, Link(api.url, delay=0.001) as link:
        link.stall = Stall(128 * 1024, seconds=60)
        with urllib.request.urlopen(f"{link.url}/raw/file") as silent:
            silent.read(64 * 1024)
            while link.stall.began is None:
                time.sleep(0.01)
            with urllib.request.urlopen(f"{link.url}/raw/file") as other:
                whole = len(other.read())

    assert 512 * 1024 == whole
    assert link.stall.began is not None
