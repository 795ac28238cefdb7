"""What runs a job. A runner is one entry here and one class that keeps ``states.ports.Runner``.

Importing this package imports no runner: the Docker client takes longer to load than a command may.
"""

import pkgutil

from states.ports import Runner

RUNNERS: dict[str, str] = {
    "docker": "jobfetcher.runners.docker:DockerRunner",
    "process": "jobfetcher.runners.process:ProcessRunner",
}
"""Name in the settings → where the class is."""


def runner_class(name: str) -> type[Runner]:
    """The class of the runner ``name``, imported now. ``KeyError`` if there is none of that name."""
    found: type[Runner] = pkgutil.resolve_name(RUNNERS[name])
    return found


__all__ = ["RUNNERS", "runner_class"]
