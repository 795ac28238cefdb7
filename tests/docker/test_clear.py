"""Removing what a container's root left in a job's folder."""

import uuid
from pathlib import Path

import pytest

from jobfetcher.runners.docker import DockerRunner
from tests.fake_tools import a_job
from tests.images import busybox_image

pytestmark = pytest.mark.docker


def test_a_folder_is_emptied_by_the_engine(tmp_path: Path, image: str) -> None:
    """Everything in the folder goes, hidden files too; the folder stays, and no container is left."""
    runner = DockerRunner(f"t{uuid.uuid4().hex[:8]}", network="none")
    (tmp_path / "1" / "deep").mkdir(parents=True)
    for name in ("a b", ".hidden", "..odd", "1/deep/file"):
        (tmp_path / name).write_text("x")
    job = a_job().model_copy(update={"worker": runner.worker}).with_facts(image_id=busybox_image(image))

    runner.clear(job, tmp_path)

    assert list(tmp_path.iterdir()) == []
    assert runner.owned() == []
