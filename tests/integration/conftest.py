"""What tests of transfers and of the API's client share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scripted_server import ScriptedServer


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    """A server that answers what the test scripts."""
    with ScriptedServer() as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a job's files go; it is not there yet."""
    return tmp_path / "job" / "files"
