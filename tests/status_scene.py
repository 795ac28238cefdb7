"""A worker's port without the worker: a real database, and a status that a test writes by hand."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobfetcher.status.joblog import Log, Tailing
from jobfetcher.status.metrics import Exposition, WorkerMetrics
from jobfetcher.status.routes import Routes
from jobfetcher.status.server import StatusServer
from jobfetcher.status.traffic import Traffic
from jobfetcher.status.views import Worker
from persistence.store import SqlStore

SECRET = "pass-phrase"


def living(at: float | None = None, **changes: Any) -> dict[str, Any]:
    """What a healthy worker without jobs says of itself at the time ``at``."""
    now = time.time() if at is None else at
    return {
        "worker": "1f2e3d4c",
        "pid": 4711,
        "version": "1.0",
        "started_at": now - 4000,
        "at": now,
        "draining": False,
        "runner": "docker",
        "api": {"url": "https://api.example.org", "ok": True, "at": now - 2, "error": ""},
        "engine": {"ok": True, "at": now - 3, "error": ""},
        "hardware": {
            "memory": 64000,
            "cpu_cores": 16,
            "gpus": [{"uuid": "GPU-1", "model": "NVIDIA RTX A6000", "memory": 49140, "architecture": "8.6"}],
        },
        "offered": {"memory": 64000, "cpu_cores": 16, "gpu_mem": 49140, "gpu_model": "NVIDIA RTX A6000"},
        "places": 2,
        "unsent": 0,
        "threads": {"worker": now - 1, "reporter": now - 2, "sweeper": now - 3},
        "jobs": {},
        **changes,
    }


@dataclass
class Posing:
    """A ``Live`` that says what it was told to say."""

    changes: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return living(**self.changes)


@dataclass
class Scene:
    """A port that answers from ``store`` and ``live``."""

    store: SqlStore
    live: Posing
    traffic: Traffic
    server: StatusServer
    moved: dict[str, int]
    folder: Path

    @property
    def url(self) -> str:
        return self.server.url.rstrip("/")


@contextmanager
def scene(folder: Path, host: str = "127.0.0.1", engine: Tailing | None = None) -> Iterator[Scene]:
    """The port is open and answers within the block."""
    live, traffic, moved = Posing(), Traffic(), {"download": 0}
    with (
        SqlStore(f"sqlite:///{folder / 'jobfetcher.db'}", "w") as store,
        StatusServer(host, 0, 0.02) as server,
    ):
        worker = Worker(live, store.path, folder, 0, secrets=(SECRET,))
        metrics = WorkerMetrics(live.as_dict, worker.disk, worker.overview, lambda: moved, traffic)
        server.start(Routes(worker, Exposition(metrics), Log(folder / "runs", engine)))
        yield Scene(store, live, traffic, server, moved, folder)
