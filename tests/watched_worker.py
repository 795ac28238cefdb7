"""A real worker with its port open, for tests that look at it."""

import json
import re
import urllib.request
from pathlib import Path

from tests.worker_process import WorkerProcess, until

_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class WatchedWorker(WorkerProcess):
    """Jobs are plain processes; the port is any free one, also after a restart."""

    def __init__(self, base: Path, api_url: str, **variables: str) -> None:
        super().__init__(base, api_url, **{"RUNNER": "process", "STATUS_PORT": "0", **variables})

    @property
    def url(self) -> str:
        """Where the page is; waits for it."""
        return until("the open port", self._listening)

    def _listening(self) -> str | None:
        assert self.process.poll() is None, f"the worker ended with {self.process.returncode}"
        said = [
            json.loads(line) for line in self.log.read_text().splitlines() if '"status.listening"' in line
        ]
        return str(said[-1]["url"]) if said else None

    def ask(self, path: str) -> str:
        """The body of a good answer."""
        with _OPENER.open(f"{self.url}{path.lstrip('/')}", timeout=30) as answer:
            return str(answer.read().decode())

    def metric(self, name: str) -> float:
        """One sample, named with its labels as Prometheus prints it; 0 if there is none."""
        found = re.search(rf"^{re.escape(name)} (\S+)$", self.ask("/metrics"), re.MULTILINE)
        return float(found[1]) if found else 0.0
