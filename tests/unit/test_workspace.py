"""The job's folder: what is admitted, what is made, what is removed."""

from pathlib import Path
from typing import Any

import pytest

from jobfetcher.workspace import Folders
from states.errors import JobFailed
from states.job import Job
from states.spec import JobSpec


def job(run: int = 1, **handler: Any) -> Job:
    raw = {
        "app": {"cmd": handler.pop("cmd", None), "env": None},
        "handler": {"image_url": "lab/decode:1", **handler},
        "meta": {"job_id": 3, "date_created": "2026-01-01"},
        "hardware": {},
    }
    return Job(key=1, worker="w", spec=JobSpec.parse("7", raw), run=run)


@pytest.mark.parametrize(
    ("handler", "expected"),
    [
        pytest.param({"files_down": {"../x": "id"}}, "climbs out", id="input climbs"),
        pytest.param({"files_down": {"/etc/passwd": "id"}}, "is absolute", id="input absolute"),
        pytest.param({"files_up": {"output": "a/../../b"}}, "climbs out", id="output climbs"),
        pytest.param({"image_url": " "}, "names no image", id="no image"),
        pytest.param({"image_url": "evil/miner:1"}, "not among those", id="image not allowed"),
    ],
)
def test_a_job_that_must_not_run_is_refused(tmp_path: Path, handler: dict[str, Any], expected: str) -> None:
    """Nothing is written for a job that asks for what it must not have."""
    folders = Folders(tmp_path, allowed_images=("lab/*",))

    with pytest.raises(JobFailed, match=expected):
        folders.admit(job(**handler))

    assert list(tmp_path.iterdir()) == []


def test_an_unreadable_specification_is_refused_with_its_reason(tmp_path: Path) -> None:
    """What did not validate is what the owner is told."""
    bad = Job(key=1, worker="w", spec=JobSpec.parse("7", {"app": {}}))

    with pytest.raises(JobFailed, match=r"handler.*missing|missing.*handler|Field required"):
        Folders(tmp_path).admit(bad)


def test_a_full_disk_is_refused(tmp_path: Path) -> None:
    """A job does not start on a disk with less free than must stay free."""
    folders = Folders(tmp_path, min_free=10 << 20, free=lambda path: 3 << 20)

    with pytest.raises(JobFailed, match=r"3\.0 MiB are free, 10\.0 MiB must stay free \(MIN_FREE_DISK\)"):
        folders.admit(job())


def test_output_folders_are_made_except_what_the_command_makes(tmp_path: Path) -> None:
    """A plain mkdir of the command must not find its folder there already."""
    folders = Folders(tmp_path)
    mine = job(cmd=["mkdir /files/output &&", "run"], files_up={"output": "output", "log": "deep/log"})

    made = folders.prepare(mine)
    again = folders.prepare(mine)

    assert made == again
    assert sorted(str(p.relative_to(made)) for p in made.rglob("*")) == ["deep", "deep/log"]


def test_a_rerun_begins_with_an_empty_folder(tmp_path: Path) -> None:
    """What a lost run left is gone before the next begins."""
    folders = Folders(tmp_path)
    (folders.prepare(job()) / "half.bin").write_bytes(b"x")

    second = folders.prepare(job(run=2))

    assert list(second.iterdir()) == []
    assert not folders.folder(job()).exists()


def test_discard_is_repeatable(tmp_path: Path) -> None:
    """Removing a job's folder twice is as good as once."""
    folders = Folders(tmp_path)
    (folders.prepare(job()) / "a").mkdir()

    folders.discard(job())
    folders.discard(job())

    assert list(folders.jobs.iterdir()) == []
