"""A small job for the mock API, and what the API has heard of a job."""

from typing import Any

from mock_api.client import MockServer

CONTENT = b"0123456789" * 5000
"""The one input of the job that ``submit`` queues."""
GOOD = ["preprocessing", "running", "postprocessing", "finished"]


def submit(mock: MockServer, command: str = "cp /files/data/x /files/output/", **more: Any) -> int:
    """Queue a job with one input and one output folder; returns its id."""
    mock.control.put_file("/user/x", CONTENT)
    job = {"files_down": {"data/x": "/user/x"}, "files_up": {"output": "output"}, "cmd": [command], **more}
    return mock.control.submit(**job)


def told(mock: MockServer, job: int) -> list[str]:
    """The acknowledged statuses, keep-alives folded."""
    heard = mock.control.statuses(job)
    return [status for at, status in enumerate(heard) if at == 0 or heard[at - 1] != status]


def details(mock: MockServer, job: int) -> str:
    """What the job's owner reads."""
    found = mock.control.job(job)
    assert found is not None
    return found.runtime_details
