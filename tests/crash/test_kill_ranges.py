"""A real worker is killed with SIGKILL while a large input comes over several connections."""

import hashlib
import random
import re

import pytest

from mock_api.client import MockServer
from tests.crash.scene import Prepare

BIG = 96 * 1024 * 1024
SLOW = 4 * 1024 * 1024
"""Bytes per second of one connection: the file is worth several."""
DEATHS = (100, 60, 140)
"""After so many pieces (of 256 KiB): as its ranges begin, while it is continued, and in their middle."""
BOUNDED = re.compile(r"bytes=\d+-\d+$")


def ranges(mock: MockServer) -> int:
    """How many requests for ranges in the middle of the file have come."""
    return sum(bool(BOUNDED.match(request.range or "")) for request in mock.control.requests())


@pytest.mark.row(6)
def test_killed_amid_its_ranges_a_file_is_continued_without_holes(prepared: Prepare) -> None:
    """Three deaths, then the job gets every byte as the service has it, and nothing is left behind."""
    body = random.Random(3).randbytes(BIG)
    with (stage := prepared("process")).worker as worker:
        stage.mock.control.put_file("/user/big.bin", body)
        stage.mock.control.fault("slow", "big.bin/download", times=None, bytes_per_second=SLOW)
        job = stage.mock.control.submit(
            image=stage.image,
            cmd=["sha256sum < /files/big.bin > /files/output/sum"],
            files_down={"big.bin": "/user/big.bin"},
            files_up={"output": "output"},
        )
        seen = []
        for pieces in DEATHS:
            worker.start(failpoints=f"download.part-written@{pieces}=kill")

            assert worker.killed_itself()

            seen.append(ranges(stage.mock))
        worker.start()

        assert stage.ended(job) == "finished"
        assert stage.output(job, "sum").split()[0].decode() == hashlib.sha256(body).hexdigest()
        assert 0 < seen[0] < seen[2]
        stage.assert_nothing_left()
