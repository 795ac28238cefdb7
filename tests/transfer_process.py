"""A process that moves one job's files, for tests that kill it: ``URL TOKEN FOLDER``.

``FOLDER`` holds ``spec.json``; the job's folder is ``job`` in it, and ``records`` stands for the store.
"""

import os
import sys
from pathlib import Path
from threading import Lock

from pydantic import SecretStr

from jobfetcher.api.auth import FixedToken
from jobfetcher.api.client import ApiClient
from jobfetcher.transfer import download_inputs, upload_outputs
from states.ports import StoredFile
from states.spec import JobSpec


class Records:
    """Files known to be whole, one JSON object a line."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = Lock()
        lines = path.read_text().splitlines() if path.exists() else []
        self.known = [StoredFile.model_validate_json(line) for line in lines]

    def add(self, file: StoredFile) -> None:
        with self._lock, self._path.open("a") as records:
            records.write(file.model_dump_json() + "\n")
            records.flush()
            os.fsync(records.fileno())


def main(url: str, token: str, base: Path) -> None:
    """Download all inputs, then upload all outputs and a log."""
    spec = JobSpec.model_validate_json((base / "spec.json").read_text())
    records = Records(base / "records")
    with ApiClient(url, FixedToken(SecretStr(token))) as api:
        job, known = base / "job", records.known
        download_inputs(api, spec, job, done=known, on_done=records.add)
        upload_outputs(api, spec, job, done=known, on_done=records.add, log=[b"log\n"])


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
