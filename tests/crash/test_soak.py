"""A short soak in the suite; ``make soak`` runs longer ones."""

from pathlib import Path

import pytest

from tests.soak.report import Report
from tests.soak.soak import LEAST_KILLS, Options, soak

SEED = 11
MINUTES = 0.6


def proved(report: Report) -> None:
    """The report is good, and the faults of which it speaks did happen."""
    print(report)

    assert report.problems == []
    assert report.kills >= LEAST_KILLS
    assert sum(report.faults.values()) > 0
    assert sum(report.asked.values()) > 0
    assert report.outcomes["finished"] > 0
    assert report.starts > 0


# docker-py leaks a socket where the engine dies between two of its calls.
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.docker
@pytest.mark.root
@pytest.mark.timeout(600)
def test_nothing_is_lost_under_random_deaths_of_worker_and_engine(tmp_path: Path) -> None:
    """Every job comes to its expected end with the expected bytes, once, and nothing stays behind, while
    an operator interferes; never do more run at once than there are places."""
    report = soak(Options(SEED, MINUTES, "docker", tmp_path, jobs=3))

    proved(report)
    assert report.restarts >= 1


@pytest.mark.timeout(600)
def test_plain_processes_survive_the_same(tmp_path: Path) -> None:
    """Without an engine too: the process runner's jobs outlive the worker and are collected."""
    proved(soak(Options(SEED, MINUTES / 2, "process", tmp_path, jobs=1)))
