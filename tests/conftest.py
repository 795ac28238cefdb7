"""What many tests start from: a tiny image in a real engine, and a mock API in a process of its own.

Also prints, at the end, which tests prove which row of docs/recovery.md.
"""

import os
from collections import defaultdict
from collections.abc import Iterator

import pytest

from mock_api.client import MockServer


@pytest.fixture
def image() -> str:
    """Name of a small image with a shell. Fails, and does not skip, where no engine answers."""
    from tests.images import DEFAULT, busybox_image

    busybox_image()
    return DEFAULT


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MockServer]:
    """The API, one for all tests of a process; take ``mock``, or reset it first."""
    with MockServer(tmp_path_factory.mktemp("api")) as server:
        yield server


@pytest.fixture
def mock(service: MockServer) -> MockServer:
    """The shared API with an empty queue and no faults."""
    service.control.reset()
    return service


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Note each test's rows. Leave out, visibly, what only root can do; CI is root."""
    for item in items:
        rows = {number for mark in item.iter_markers("row") for number in mark.args}
        item.user_properties += [("row", number) for number in sorted(rows)]
    if os.geteuid() != 0:
        config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker("root")])
        items[:] = [item for item in items if item.get_closest_marker("root") is None]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The matrix: row → tests that passed."""
    proved: dict[int, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for report in terminalreporter.stats.get("passed", []):
        name = report.nodeid.split("[")[0].removeprefix("tests/")
        for key, number in report.user_properties:
            if key == "row" and report.when == "call":
                proved[number][name] += 1
    if len(proved) > 1:
        terminalreporter.section("rows of docs/recovery.md and the tests that proved them")
        for number in sorted(proved):
            tests = ", ".join(
                f"{name} ({times})" if times > 1 else name for name, times in proved[number].items()
            )
            terminalreporter.write_line(f"{number:3} {tests}")
