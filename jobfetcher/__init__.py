"""What a cloud function needs of the worker, step by step: fetch, download, upload, report.

Names load on first use: importing the package costs next to nothing, and none of them loads docker,
sqlalchemy, transitions, boto3 or NVML. What moves bytes is loaded when the first byte is to move.
"""

from jobfetcher._version import __version__

TYPE_CHECKING = False  # as in typing, without loading it
if TYPE_CHECKING:
    from typing import Any

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
    "login": "jobfetcher.api.auth",
}


class _Later:
    """A function whose module is loaded at the first call, or when somebody asks for its signature."""

    def __init__(self, module: str, name: str) -> None:
        self._module = module
        self.__name__ = name

    def __call__(self, *args: "Any", **kwargs: "Any") -> "Any":
        return self.__wrapped__(*args, **kwargs)

    @property
    def __wrapped__(self) -> "Any":
        return _loaded(self._module, self.__name__)


if not TYPE_CHECKING:
    download_inputs = _Later("jobfetcher.transfer.download", "download_inputs")
    upload_outputs = _Later("jobfetcher.transfer.upload", "upload_outputs")


def __getattr__(name: str) -> "Any":
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _loaded(_EXPORTS[name], name)


def _loaded(module: str, name: str) -> "Any":
    from importlib import import_module

    return getattr(import_module(module), name)


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
