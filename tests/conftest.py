"""What many tests start from: a tiny image in a real engine, and a mock API in a process of its own."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from mock_api.client import MockServer


@pytest.fixture
def image() -> str:
    """Name of a small image with a shell. Fails, and does not skip, where no engine answers."""
    from tests.images import DEFAULT, busybox_image

    busybox_image()
    return DEFAULT


@pytest.fixture
def mock(tmp_path: Path) -> Iterator[MockServer]:
    """The API."""
    with MockServer(tmp_path / "api") as server:
        yield server


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out, visibly, what only root can do; CI is root."""
    if os.geteuid() == 0:
        return
    kept = [item for item in items if item.get_closest_marker("root") is None]
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = kept
