"""What a cloud function needs of the worker, step by step: fetch, download, upload, report.

Names load on first use: importing the package costs next to nothing, and none of them loads docker,
sqlalchemy, transitions, boto3 or NVML.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from jobfetcher._version import __version__

if TYPE_CHECKING:
    from jobfetcher.api.auth import login
    from jobfetcher.api.client import ApiClient
    from jobfetcher.transfer.download import download_inputs
    from jobfetcher.transfer.upload import upload_outputs
    from states.job import ApiStatus
    from states.ports import FileRequest, Resources
    from states.spec import FileType, JobSpec

_EXPORTS = {
    "ApiClient": "jobfetcher.api.client",
    "ApiStatus": "states.job",
    "FileRequest": "states.ports",
    "FileType": "states.spec",
    "JobSpec": "states.spec",
    "Resources": "states.ports",
    "download_inputs": "jobfetcher.transfer.download",
    "login": "jobfetcher.api.auth",
    "upload_outputs": "jobfetcher.transfer.upload",
}


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_EXPORTS[name]), name)


__all__ = [
    "ApiClient",
    "ApiStatus",
    "FileRequest",
    "FileType",
    "JobSpec",
    "Resources",
    "__version__",
    "download_inputs",
    "login",
    "upload_outputs",
]
