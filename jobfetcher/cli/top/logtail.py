"""The last lines of a job's log, for a screen."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jobfetcher.environment import value_of
from jobfetcher.status.joblog import LINES, Log, Tailing


class LogTail:
    """Of the worker whose folder is ``base``."""

    def __init__(self, base: Path) -> None:
        self._runs = base / "runs"
        self._engine: Tailing | None = None

    def lines(self, known: Mapping[str, Any]) -> list[str]:
        """The last lines of the job's current run, or one sentence in parentheses: why there are none."""
        if not known["container"]:
            return ["(It has no container yet.)" if known["exit"] is None else "(It has no container.)"]
        written = self._log(known).tail(known).decode("utf-8", "replace").splitlines()
        return written or [_where(known)]

    def _log(self, known: Mapping[str, Any]) -> Log:
        if str(known["image_id"]).startswith("process:"):
            return Log(self._runs, None)
        if self._engine is None:
            from jobfetcher.runners.docker import DockerEngine

            self._engine = DockerEngine(value_of("DOCKER_HOST"))
        return Log(self._runs, self._engine)


def _where(known: Mapping[str, Any]) -> str:
    uploaded = [file["path"] for file in known["files"] if (file["direction"], file["kind"]) == ("up", "log")]
    if uploaded:
        return f"(Its log was uploaded with the results, as {uploaded[0]}.)"
    return "(It has written nothing, or its container is not here any more.)"


def title(job_id: str) -> str:
    """Says how to have more of it."""
    return f"Job {job_id}: the last {LINES} lines; 'jobfetcher logs {job_id}' has all"
