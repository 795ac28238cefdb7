"""The places where a life may be made to end: every failpoint that the worker's source names."""

import re
from itertools import product
from pathlib import Path

import jobfetcher
from states.job import ApiStatus, JobState
from states.table import LIVE

ONLY = {"docker", "process"}
"""Points of one runner begin with its name."""
_CALL = re.compile(r"""\bfailpoint\(f?"([^"]+)"\)""")
_TOLD = ("preprocessing", "running", "postprocessing", "finished", "error")
_FILLED_IN = {
    "{job.state}": sorted(str(state) for state in LIVE),
    "{after.state}": [str(state) for state in JobState if state is not JobState.FETCHED],
    "{update.status}": [str(ApiStatus(name)) for name in _TOLD],
}


def points(runner: str) -> list[str]:
    """All points that a worker with that runner may pass, in the order of their names."""
    found = {name for text in _sources() for call in _CALL.findall(text) for name in _names(call)}
    others = ONLY - {runner}
    return sorted(name for name in found if name.partition(".")[0] not in others)


def _sources() -> list[str]:
    folder = Path(jobfetcher.__file__).parent
    return [path.read_text(encoding="utf-8") for path in sorted(folder.rglob("*.py"))]


def _names(call: str) -> list[str]:
    """The names that a call stands for, whose text may have places to be filled in."""
    places = re.findall(r"{[^}]+}", call)
    names = []
    for values in product(*(_FILLED_IN[place] for place in places)):
        name = call
        for place, value in zip(places, values, strict=True):
            name = name.replace(place, value)
        names.append(name)
    return names
