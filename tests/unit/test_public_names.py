"""``import jobfetcher``: what a cloud function pays before it does anything."""

import inspect
import subprocess
import sys

import jobfetcher
from jobfetcher.transfer.download import download_inputs
from jobfetcher.transfer.upload import upload_outputs


def loaded(program: str) -> set[str]:
    """The modules that a fresh Python has after running ``program``."""
    done = subprocess.run(
        [sys.executable, "-c", f"{program}\nimport sys\nprint(*sys.modules)"],
        check=True,
        capture_output=True,
        text=True,
    )
    return set(done.stdout.split())


def test_the_package_itself_loads_nothing() -> None:
    """Not even what Python keeps for type hints."""
    bare, ours = loaded("pass"), loaded("import jobfetcher")

    assert ours - bare == {"jobfetcher", "jobfetcher._version"}


def test_what_sends_is_loaded_when_something_is_sent() -> None:
    """Client, specification and transfers can be had without any HTTP library."""
    names = ", ".join(name for name in jobfetcher.__all__ if not name.startswith("_"))

    assert loaded(f"from jobfetcher import {names}") & {"requests", "urllib3", "ssl", "boto3"} == set()


def test_functions_that_load_late_look_like_themselves() -> None:
    """Name and signature are those of the function that is called."""
    for late, true in (
        (jobfetcher.download_inputs, download_inputs),
        (jobfetcher.upload_outputs, upload_outputs),
    ):
        assert (late.__name__, inspect.signature(late)) == (true.__name__, inspect.signature(true))


def test_every_public_name_is_there() -> None:
    """And nothing else is made up."""
    assert all(hasattr(jobfetcher, name) for name in jobfetcher.__all__)
    assert not hasattr(jobfetcher, "upload_everything")
