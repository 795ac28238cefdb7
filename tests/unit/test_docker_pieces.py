"""The pieces of the Docker runner that need no engine."""

import itertools
import random
from pathlib import Path

import pytest

from jobfetcher.runners import RUNNERS, runner_class
from jobfetcher.runners.config import Limits, container, is_of
from jobfetcher.runners.exits import exit_of, seconds, why_not_started
from jobfetcher.runners.images import reference
from jobfetcher.runners.multiplexed import payloads
from states.errors import JobFailed
from states.job import Job, Share
from states.spec import JobSpec


@pytest.mark.parametrize(
    ("image", "parts"),
    [
        pytest.param("decode", ("decode", "latest"), id="name"),
        pytest.param("decode:v1", ("decode", "v1"), id="tag"),
        pytest.param("host:5000/a/b", ("host:5000/a/b", "latest"), id="port"),
        pytest.param("host:5000/a/b:v1", ("host:5000/a/b", "v1"), id="port and tag"),
        pytest.param("a/b@sha256:12ab", ("a/b", "sha256:12ab"), id="digest"),
        pytest.param("h:5/a:v1@sha256:12ab", ("h:5/a", "sha256:12ab"), id="tag and digest"),
        pytest.param("  decode:v1\n", ("decode", "v1"), id="blanks around"),
        pytest.param("r.io/a__b/c--d.e:V_1.0", ("r.io/a__b/c--d.e", "V_1.0"), id="separators"),
        pytest.param("[::1]:5000/a", ("[::1]:5000/a", "latest"), id="IPv6"),
        pytest.param("Upper/Case", ("Upper/Case", "latest"), id="capitals, which the engine explains"),
        pytest.param("a" * 255 + ":" + "t" * 128, ("a" * 255, "t" * 128), id="as long as can be"),
    ],
)
def test_references(image: str, parts: tuple[str, str]) -> None:
    """A name is split as the engine means it, and no tag means latest, never all tags."""
    assert reference(image) == parts


@pytest.mark.parametrize(
    "image",
    [
        *("", " ", "two words", "a" * 256, "x:", "x:" + "t" * 129, "x:-t", "x@sha256:", "x@sha256:xyz"),
        *("x@sha256:" + "0" * 300, "a//b", "/a", "a/", "a/../b", "../../info?x", "-a", "a___b", "ä", "a\0b"),
    ],
    ids=lambda image: ascii(image[:12]),
)
def test_no_reference(image: str) -> None:
    """What can be no image's name fails the job, and the engine is not asked for it."""
    with pytest.raises(JobFailed, match="no usable image"):
        reference(image)


def test_long_no_reference() -> None:
    """A name of any length is told in a short sentence."""
    with pytest.raises(JobFailed) as failure:
        reference("a" * 100_000)
    assert f"The job names no usable image ('{'a' * 80}', 100000 characters)." == str(failure.value)


@pytest.mark.parametrize(
    ("stamp", "expected"),
    [
        pytest.param("2024-05-01T10:00:00.123456789Z", 1714557600.123456, id="nine digits"),
        pytest.param("2024-05-01T10:00:00.12345678Z", 1714557600.123456, id="eight digits"),
        pytest.param("2024-05-01T10:00:00.5Z", 1714557600.5, id="one digit"),
        pytest.param("2024-05-01T12:00:00+02:00", 1714557600.0, id="other zone"),
        pytest.param("0001-01-01T00:00:00Z", None, id="never"),
        pytest.param("", None, id="empty"),
    ],
)
def test_time_stamps(stamp: str, expected: float | None) -> None:
    """The engine's time stamps have any number of digits, and a zero that means never."""
    assert seconds(stamp) == expected


def test_a_killed_child_is_named_although_the_code_is_0() -> None:
    """A child killed for memory leaves exit code 0; the run is no success."""
    state = {"ExitCode": 0, "OOMKilled": True, "StartedAt": "", "FinishedAt": ""}

    ended = exit_of({"State": state, "HostConfig": {"Memory": 0}})

    assert not ended.ok
    assert ended.reason == "killed: out of memory (no limit set: the machine ran out)"


def test_missing_gpu_toolkit_is_explained() -> None:
    """The engine's words alone would help nobody."""
    reason = 'could not select device driver "" with capabilities: [[gpu]]'

    assert "install the NVIDIA Container Toolkit" in why_not_started({"State": {"Error": reason}})
    assert why_not_started(None, "no shell.") == "The container cannot be started: no shell."


def test_frames_are_put_together_whatever_the_chunks() -> None:
    """Frames may be cut anywhere, also within their headers, and may be empty."""
    data = [bytes([number]) * (number * 7 % 50) for number in range(200)]
    stream = b"".join(
        bytes([1 + number % 2, 0, 0, 0]) + len(piece).to_bytes(4, "big") + piece
        for number, piece in enumerate(data)
    )
    rng = random.Random(1)
    cuts = sorted({0, len(stream), *(rng.randrange(len(stream)) for _ in range(500))})

    pieces = payloads(stream[start:end] for start, end in itertools.pairwise(cuts))

    assert b"".join(pieces) == b"".join(data)


def test_ipc_of_the_host_has_no_shared_memory_of_its_own() -> None:
    """The engine refuses a size together with the host's IPC namespace."""
    job = Job(key=1, worker="w", spec=JobSpec(id="1")).with_facts(gpus=("GPU-1",))

    host = container(job, "sha256:0", Path("/f"), Limits(ipc_mode="host"), "e")["HostConfig"]

    assert "ShmSize" not in host
    assert host["DeviceRequests"] == [{"DeviceIDs": ["GPU-1"], "Capabilities": [["gpu"]]}]


def test_a_share_becomes_limits() -> None:
    """Cores and memory, of which none may be swapped; a job with the whole machine has no limits."""
    job = Job(key=1, worker="w", spec=JobSpec(id="1"))
    part = job.with_facts(share=Share(cpu_cores=0.66, memory=300))
    hosts = [
        container(one, "sha256:0", Path("/f"), Limits(), "e")["HostConfig"]
        for one in (part, job.with_facts(share=Share()), job)
    ]

    assert [(host.get("NanoCpus"), host.get("Memory"), host.get("MemorySwap")) for host in hosts] == [
        (660_000_000, 300 << 20, 300 << 20),
        (None, None, None),
        (None, None, None),
    ]


def test_a_container_made_for_another_share_is_another_container() -> None:
    """A worker that died before its create may find that its GPU has gone, and take another."""
    job = Job(key=1, worker="w", spec=JobSpec(id="1")).with_facts(share=Share(), gpus=("GPU-1",))
    other = job.with_facts(gpus=("GPU-2",))
    limited = job.with_facts(share=Share(cpu_cores=1, memory=300))
    made = {"Config": {"Labels": container(job, "sha256:0", Path("/f"), Limits(), "e")["Labels"]}}

    assert [is_of(one, made) for one in (job, other, limited)] == [True, False, False]


def test_every_runner_is_where_the_table_says() -> None:
    """Each entry of the table can be loaded."""
    assert {name: runner_class(name).__name__ for name in RUNNERS} == {
        "docker": "DockerRunner",
        "process": "ProcessRunner",
    }
