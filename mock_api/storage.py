"""The service's files on disk: inputs under ``files/``, what workers uploaded under ``uploads/``."""

import hashlib
import shutil
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path

from mock_api.records import Upload

CHUNK = 1 << 20


class Outside(Exception):
    """A path leads out of its folder."""


@dataclass(frozen=True)
class Target:
    """Where an upload belongs."""

    job_id: int
    submission: int
    lease: int
    type: str
    base_path: str


class Incoming:
    """A file while it arrives: on disk, under a name of its own."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=folder)
        self._file = open(handle, "wb")  # noqa: PTH123, SIM115  # a descriptor, and it outlives this call
        self.path = Path(name)
        self.pending = bytearray()
        self.size = 0

    def add(self, data: bytes) -> None:
        """Take more, in memory until ``flush``."""
        self.pending += data
        self.size += len(data)

    def flush(self) -> None:
        self._file.write(self.pending)
        self.pending = bytearray()

    def close(self) -> None:
        self.flush()
        self._file.close()

    def discard(self) -> None:
        self._file.close()
        self.path.unlink(missing_ok=True)


class Storage:
    """Thread-safe; streams, so that files of any size pass."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._lock = threading.Lock()
        self._uploads: dict[tuple[int, str], tuple[Target, str, int]] = {}
        self._owners: dict[int, int] = {}
        self._sums: dict[tuple[Path, int, int], str] = {}

    def incoming(self) -> Incoming:
        return Incoming(self.root / "incoming")

    def input(self, file_id: str) -> Path:
        """Where the file with this id lies, if there is one; ``Outside`` if the id climbs out."""
        return _inside(self.root / "files", file_id.removeprefix("s3://"))

    def put_input(self, file_id: str, incoming: Incoming) -> None:
        path = self.input(file_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        incoming.path.replace(path)

    def keep(self, incoming: Incoming, target: Target, name: str) -> None:
        """Move a whole file to its place. ``Outside`` if its folder climbs out."""
        with self._lock:
            home = self._home(target)
            path = _inside(home / target.type, f"{target.base_path}/{name}")
            path.parent.mkdir(parents=True, exist_ok=True)
            incoming.path.replace(path)
            key = (target.job_id, str(path.relative_to(home)))
            times = self._uploads[key][2] if key in self._uploads else 0
            self._uploads[key] = (target, name, times + 1)

    def _home(self, target: Target) -> Path:
        """The job's folder; an earlier job's with the same id is moved aside."""
        home = self.root / "uploads" / str(target.job_id)
        if self._owners.get(target.job_id) != target.submission:
            if home.exists():
                home.rename(tempfile.mkdtemp(prefix=f"{home.name}-earlier-", dir=home.parent))
            self._uploads = {key: kept for key, kept in self._uploads.items() if key[0] != target.job_id}
            self._owners[target.job_id] = target.submission
        return home

    def uploads(self, job_id: int) -> list[Upload]:
        """All files of the job, with their checksums, by path."""
        with self._lock:
            found = sorted((key[1], kept) for key, kept in self._uploads.items() if key[0] == job_id)
            home = self.root / "uploads" / str(job_id)
            return [self._view(home / path, *kept) for path, kept in found]

    def _view(self, path: Path, target: Target, name: str, times: int) -> Upload:
        return Upload(
            id=target.job_id,
            submission=target.submission,
            lease=target.lease,
            type=target.type,
            base_path=target.base_path,
            name=name,
            size=path.stat().st_size,
            sha256=self._sum(path),
            times=times,
        )

    def _sum(self, path: Path) -> str:
        found = path.stat()
        key = (path, found.st_ino, found.st_mtime_ns)
        if key not in self._sums:
            with path.open("rb") as file:
                self._sums[key] = hashlib.file_digest(file, "sha256").hexdigest()
        return self._sums[key]

    def uploaded(self, job_id: int, path: str) -> Path:
        """An uploaded file, by ``Upload.path``."""
        return _inside(self.root / "uploads" / str(job_id), path)

    def reset(self) -> None:
        """Remove all uploads; inputs stay."""
        with self._lock:
            shutil.rmtree(self.root / "uploads", ignore_errors=True)
            self._uploads.clear()
            self._owners.clear()
            self._sums.clear()


def _inside(folder: Path, path: str) -> Path:
    target = Path(f"{folder}/{path}")
    if ".." in target.parts[len(folder.parts) :] or "\0" in path:
        raise Outside(path)
    return target
