"""Workers that are to be killed, over either runner."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from mock_api.client import MockServer
from tests.crash.scene import Prepare, Scene, scene
from tests.engine_view import remove_all_below


@pytest.fixture
def prepared(tmp_path: Path, service: MockServer, request: pytest.FixtureRequest) -> Iterator[Prepare]:
    """Makes the scene for a runner; removes whatever a failed test left in the engine."""
    made: list[Scene] = []

    def prepare(runner: str = "process", **variables: str) -> Scene:
        name = request.getfixturevalue("image") if runner == "docker" else "image:1"
        service.control.reset()
        made.append(scene(tmp_path, service, runner, name, **variables))
        return made[-1]

    yield prepare
    for one in made:
        one.worker.kill()
        if one.runner == "docker":
            remove_all_below(one.worker.base)
