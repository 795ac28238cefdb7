"""Uploads the outputs of a job that has ended once more, as long as its folder is there (``KEEP_JOBS``).

The API is told no status: none may follow a terminal one. It still takes the files of a job that is ours.
"""

import logging
from pathlib import Path
from typing import Protocol

from jobfetcher.logs import about
from jobfetcher.sweeper import Sweeper
from jobfetcher.transfer.sender import NotTaken
from jobfetcher.workspace import Folders
from persistence.requests import Answer
from persistence.store import SqlStore
from states.errors import JobFailed, JobGone
from states.job import Job, JobState
from states.ports import Stop, StoredFile

log = logging.getLogger(__name__)


class Uploader(Protocol):
    """The part of ``JobTransfers`` that is needed here."""

    def upload_again(self, job: Job, folder: Path, done: list[StoredFile], stop: Stop) -> None:
        """Upload the outputs that are not in ``done``, without the container's log; adds each to ``done``."""


class Reupload:
    """Safe to repeat: what was uploaded is overwritten by the same."""

    def __init__(self, store: SqlStore, sweeper: Sweeper, folders: Folders, transfers: Uploader) -> None:
        self._store = store
        self._sweeper = sweeper
        self._folders = folders
        self._transfers = transfers

    def upload(self, job: Job, everything: bool, stop: Stop) -> Answer:
        """Upload what is not on record as uploaded, or ``everything``. Raises ``Paused``."""
        with self._sweeper.holding(job.key), about(job_id=job.id, state=str(job.state)):
            if job.gone or job.state is JobState.CANCELLED:
                return Answer(f"Job {job.id} is not ours any more: the API has forgotten it.", refused=True)
            if not (folder := self._folders.folder(job)).is_dir():
                return Answer(
                    f"The files of job {job.id} are not on this machine any more; set KEEP_JOBS to the hours "
                    "that they are to stay after a job's end.",
                    refused=True,
                )
            return self._upload(job, folder, everything, stop)

    def _upload(self, job: Job, folder: Path, everything: bool, stop: Stop) -> Answer:
        recorded = self._store.files(job, "up")
        done = [] if everything else list(recorded)
        before = len(done)
        try:
            self._transfers.upload_again(job, folder, done, stop)
        except JobFailed as failure:
            return Answer(str(failure), refused=True)
        except NotTaken as refusal:
            return Answer(
                f"{refusal} So it answers for a job that was deleted, or is not ours any more; if this one "
                "is still there, ask again later.",
                refused=True,
            )
        except JobGone:
            return Answer(f"The API does not know job {job.id} any more.", refused=True)
        sent = done[before:]
        log.info("upload.repeated", extra={"files": len(sent)})
        found = {"files": len(sent), "bytes": sum(file.size for file in sent)}
        if not sent and recorded and not everything:
            said = f"Nothing of job {job.id} is left to upload; --all uploads again what was uploaded."
            return Answer(said, found=found)
        files = "1 file" if len(sent) == 1 else f"{len(sent)} files"
        return Answer(f"Uploaded {files} of job {job.id}; the API is told no status.", found=found)
