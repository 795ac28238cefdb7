"""The job's folder on this machine, and what may enter it.

``<base>/jobs/<job>/<run>`` is what the container sees as ``/files``. Each run has a folder of its own,
so a run that was lost leaves nothing to the next one. An image may have a user of its own, so the folder
is open to all; the one around it lets nobody of this machine in but the worker.
"""

import fnmatch
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path

from jobfetcher.room import Room
from states import paths
from states.errors import JobFailed
from states.job import Job


class Folders:
    """Implements ``states.ports.Workspace`` under ``base`` (``PATH_BASE``).

    ``allowed_images`` are patterns; none: every image may run. ``min_free`` is in bytes; ``free`` tells
    the bytes free where a path lies.
    """

    def __init__(
        self,
        base: Path,
        allowed_images: tuple[str, ...] = (),
        min_free: int = 0,
        free: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free,
    ) -> None:
        self.jobs = base / "jobs"
        self._allowed_images = allowed_images
        self.room = Room(base, min_free, free)
        """The disk that the jobs' files share."""

    def folder(self, job: Job) -> Path:
        """The folder of the job's current run."""
        return self.home(job) / str(job.run)

    def home(self, job: Job) -> Path:
        """Everything of the job on this machine: its runs' folders, temporary files, spooled log."""
        return self.jobs / job.slug

    def admit(self, job: Job) -> None:
        """``JobFailed`` with a sentence if the job must not run here."""
        spec = job.spec
        if spec.problem:
            raise JobFailed(spec.problem)
        self._admit_image(spec.handler.image_url)
        paths.check(spec)
        self._admit_disk()

    def _admit_image(self, image: str) -> None:
        if not image.strip():
            raise JobFailed("The job names no image to run.")
        if self._allowed_images and not any(fnmatch.fnmatchcase(image, p) for p in self._allowed_images):
            raise JobFailed(f"The image {image!r} is not among those that this worker may run.")

    def _admit_disk(self) -> None:
        self.jobs.mkdir(parents=True, exist_ok=True)
        if shortage := self.room.shortage():
            raise JobFailed(shortage)

    def prepare(self, job: Job) -> Path:
        """Make the folder of the current run with its output folders. Idempotent."""
        folder = self.folder(job)
        self.home(job).mkdir(mode=0o700, parents=True, exist_ok=True)
        _make_open(folder)
        for earlier in range(1, job.run):
            shutil.rmtree(self.home(job) / str(earlier), ignore_errors=True)
        for path in paths.folders_to_make(job.spec):
            for below in (*reversed(path.parents), path):
                _make_open(folder / below)
        return folder

    def used(self, job: Job) -> bool:
        """Something of this job is on the disk already."""
        return self.home(job).exists()

    def discard(self, job: Job) -> None:
        """Remove everything of the job. Idempotent. Raises ``OSError`` if something stays."""
        home = self.home(job)
        if home.exists():
            shutil.rmtree(home)


def _make_open(folder: Path) -> None:
    """Make a folder that every user may write into. Before the run only: a job could put a link there."""
    folder.mkdir(exist_ok=True)
    folder.chmod(0o777)


def worker_id(folder: Path) -> str:
    """This state folder's own name, made at its first use: it scopes containers and jobs to this worker.

    It lies beside the database and not in it, so that containers are still known as ours if the
    database is lost.
    """
    file = folder / "worker-id"
    if not file.exists():
        draft = folder / "worker-id.new"
        draft.write_text(f"{secrets.token_hex(4)}\n")
        draft.replace(file)
    return file.read_text().strip()
