"""The documentation: it builds without a warning, and every command in it works."""

import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from docker.models.images import Image

from jobfetcher.settings import Settings
from mock_api.client import TOKEN, MockServer
from tests.docker.pages import PAGES, ROOT, WORKER, Stage, blocks
from tests.images import DEFAULT, busybox_image
from tests.worker_process import until

pytestmark = pytest.mark.timeout(400)

WORKED = [page for page in PAGES if blocks(page)]
"""The pages with commands in them."""
BESIDE_A_WORKER = {"operating.md", "configuration.md"}
"""Pages whose commands are typed where a worker runs."""
AS_ROOT = {"attach.md"}
"""Pages that show two ways for one folder: what the container's root makes there, no other account reads."""
OF_ROOT = (pytest.mark.root,)


@pytest.fixture
def stage(tmp_path: Path, mock: MockServer, built_image: Image) -> Iterator[Stage]:
    busybox_image()
    with Stage(tmp_path, mock, str(built_image.tags[0])) as made:
        yield made


@pytest.mark.docker
@pytest.mark.parametrize(
    "page",
    [pytest.param(page, marks=OF_ROOT if page.name in AS_ROOT else ()) for page in WORKED],
    ids=lambda page: page.name,
)
def test_every_command_of_the_page_works(page: Path, stage: Stage) -> None:
    """Typed one after the other, each ends with exit code 0."""
    done = stage.mock.control.submit(
        image=DEFAULT, cmd=["echo done > /files/output/it"], files_up={"output": "output"}
    )
    assert done == 1
    if page.name in BESIDE_A_WORKER:
        set_up_worker(stage)

    ran = stage.run(page)

    assert ran.returncode == 0, ran.stdout[-6000:]


def set_up_worker(stage: Stage) -> None:
    """A worker that has finished job 1, and has job 2 at work, over an older worker's database."""
    with closing(sqlite3.connect(stage.base / "jobfetcher.db")) as old:
        old.executescript((ROOT / "tests" / "data" / "jobfetcher-0001.sql").read_text())
    (stage.base / "worker-id").write_text(f"{WORKER}\n")
    stage.with_worker(
        API_URL=stage.mock.url,
        ACCESS_TOKEN=TOKEN,
        PATH_BASE=str(stage.base),
        RUNNER="process",
        TIMEOUT_JOB="0.3",
        TIMEOUT_STATUS="1",
        MIN_FREE_DISK="0",
        KEEP_JOBS="1",
    )
    control = stage.mock.control
    until("job 1 finished", lambda: "finished" in control.statuses(1))
    assert control.submit(image=DEFAULT, cmd=["sleep 600"], files_up={"output": "output"}) == 2
    until("job 2 runs", lambda: "running" in control.statuses(2))


def test_the_documentation_builds_without_a_warning(tmp_path: Path) -> None:
    """``make docs``: every link leads somewhere, and the reference names every setting and command."""
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert built.returncode == 0, built.stderr
    assert "WARNING" not in built.stderr
    reference = (tmp_path / "site" / "configuration" / "index.html").read_text()
    assert [] == [name for name in Settings.model_fields if name.upper() not in reference]
    assert "<!-- " not in "".join(re.findall(r"<!-- \w+ -->", reference))


def test_the_messages_that_are_explained_are_the_programs() -> None:
    """Each message quoted in docs/errors.md stands in the code, so that a search finds it."""
    code = "".join(
        re.sub(r'"\s*\n\s*f?"', "", file.read_text())
        for folder in ("jobfetcher", "persistence", "states")
        for file in sorted((ROOT / folder).rglob("*.py"))
    )
    quoted = re.findall(r"^\| (`[^|]+) \|", (ROOT / "docs" / "errors.md").read_text(), re.MULTILINE)
    messages = [part for cell in quoted for part in re.findall(r"`([^`]+)`", cell)]

    assert len(messages) > 15
    assert [] == [message for message in messages if message not in code]
