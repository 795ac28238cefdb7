"""What a person reads of an error that the system raised."""

import errno
import os

import pytest

from jobfetcher.complaint import sentence


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        pytest.param(
            OSError(errno.EACCES, os.strerror(errno.EACCES), "/data/x"),
            "/data/x cannot be used (permission denied); check the path, its permissions and its disk.",
            id="a file",
        ),
        pytest.param(
            OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
            "There is no space left on the disk; free some.",
            id="a write",
        ),
        pytest.param(
            OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/data/x"),
            "There is no space left on the disk of /data/x; free some.",
            id="a full disk",
        ),
        pytest.param(OSError("broken"), "broken", id="no number"),
        pytest.param(ValueError("Say it so."), "Say it so.", id="not the system's"),
    ],
)
def test_the_system_speaks_in_sentences(error: Exception, expected: str) -> None:
    """The file, the reason, and what to do."""
    assert sentence(error) == expected
