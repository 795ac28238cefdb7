"""Failpoints: armed by a line of text, quiet otherwise."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from jobfetcher.failpoints import EXIT_CODE, Failpoints, failpoint


def test_an_unarmed_failpoint_does_nothing() -> None:
    """Names that are not armed pass."""
    failpoint("nothing.armed")
    Failpoints("other=raise").hit("this")


def test_raise_raises_each_time() -> None:
    """Without a number the action is done at each pass."""
    points = Failpoints("a=raise; b=delay:0")
    points.hit("b")
    for _ in range(2):
        with pytest.raises(RuntimeError, match="failpoint a"):
            points.hit("a")

    assert points.reached == {"a": 2, "b": 1}


def test_a_number_means_that_time_only() -> None:
    """``@3`` acts the third time and never again."""
    points = Failpoints("a@3=raise")
    points.hit("a")
    points.hit("a")
    with pytest.raises(RuntimeError):
        points.hit("a")
    points.hit("a")

    assert points.reached == {"a": 4}


def test_a_delay_takes_its_time() -> None:
    """``delay`` and ``hang`` sleep for the given seconds."""
    began = time.monotonic()
    Failpoints("a=hang:0.05").hit("a")

    assert time.monotonic() - began >= 0.05


@pytest.mark.parametrize("text", ["a", "a=explode", "a@x=kill", "a=delay:soon"])
def test_what_cannot_be_read_is_said(text: str) -> None:
    """A test that arms nothing by a slip of the pen would prove nothing."""
    with pytest.raises(ValueError, match="failpoint"):
        Failpoints(text)


def test_the_log_names_each_reached_point_once(tmp_path: Path) -> None:
    """The file is appended to, one name a line."""
    log = tmp_path / "reached"
    log.write_text("before\n")
    points = Failpoints(log=str(log))
    for name in ("a", "b", "a"):
        points.hit(name)

    assert (log.read_text(), bool(points)) == ("before\na\nb\n", True)


@pytest.mark.parametrize(("action", "code"), [("kill", -9), ("exit", EXIT_CODE)])
def test_a_process_ends_where_it_is_told_to(action: str, code: int, tmp_path: Path) -> None:
    """Armed by the environment, ``kill`` and ``exit`` leave no chance to tidy up."""
    program = (
        "from jobfetcher.failpoints import failpoint\n"
        "failpoint('first')\nfailpoint('here')\nprint('not reached', flush=True)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program],
        env={"JOBFETCHER_FAILPOINTS": f"here={action}", "JOBFETCHER_FAILPOINT_LOG": str(tmp_path / "log")},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (ran.returncode, ran.stdout) == (code, "")
    assert (tmp_path / "log").read_text() == "first\nhere\n"
