"""What the machine has, and what of it can be had, within the limits of its cgroup."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from jobfetcher import cgroup, hardware
from jobfetcher.units import MIB
from tests import nvml


@pytest.fixture
def meminfo(tmp_path: Path) -> Path:
    """A machine of which 4000 MiB can be had."""
    file = tmp_path / "meminfo"
    file.write_text("MemTotal:       8192000 kB\nMemFree:         100 kB\nMemAvailable:   4096000 kB\n")
    return file


def test_without_limits_the_machine_is_there_whole(tmp_path: Path) -> None:
    """No cgroup limit: all memory and all cores of this process."""
    assert cgroup.memory_mib(tmp_path) > 0
    assert cgroup.cpu_cores(tmp_path) >= 1


def test_the_limits_of_cgroup_2_count(tmp_path: Path) -> None:
    """memory.max and cpu.max lower what there is."""
    (tmp_path / "memory.max").write_text(f"{300 << 20}\n")
    (tmp_path / "cpu.max").write_text("100000 100000\n")

    assert (cgroup.memory_mib(tmp_path), cgroup.cpu_cores(tmp_path)) == (300, 1)


def test_the_limits_of_cgroup_1_count(tmp_path: Path) -> None:
    """The older files count as well."""
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory" / "memory.limit_in_bytes").write_text(f"{200 << 20}\n")
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("50000\n")
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")

    assert (cgroup.memory_mib(tmp_path), cgroup.cpu_cores(tmp_path)) == (200, 1)


def test_cores_are_rounded_down(tmp_path: Path) -> None:
    """Of one core and a half, one is whole."""
    (tmp_path / "cpu.max").write_text("150000 100000\n")

    assert cgroup.cpu_cores(tmp_path) == 1


def test_max_means_no_limit(tmp_path: Path) -> None:
    """The word max is no number and no limit."""
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "cpu.max").write_text("max 100000\n")

    assert cgroup.memory_mib(tmp_path) == cgroup.memory_mib(tmp_path / "none")
    assert cgroup.cpu_cores(tmp_path) == cgroup.cpu_cores(tmp_path / "none")


def test_what_can_be_had_is_what_the_machine_says(tmp_path: Path, meminfo: Path) -> None:
    """MemAvailable, not MemFree: the cache of files gives way."""
    assert cgroup.available_mib(tmp_path, meminfo) == 4000


@pytest.mark.parametrize(
    ("folder", "limit", "usage", "cache"),
    [
        (".", "memory.max", "memory.current", "inactive_file"),
        ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ],
    ids=["cgroup 2", "cgroup 1"],
)
def test_what_the_cgroup_has_left_counts(
    tmp_path: Path, meminfo: Path, folder: str, limit: str, usage: str, cache: str
) -> None:
    """Its limit less its usage, of which the cache of files is not counted."""
    place = tmp_path / folder
    place.mkdir(exist_ok=True)
    (place / limit).write_text(f"{1000 * MIB}\n")
    (place / usage).write_text(f"{700 * MIB}\n")
    (place / "memory.stat").write_text(f"anon 1\n{cache} {200 * MIB}\n")

    assert cgroup.available_mib(tmp_path, meminfo) == 500


def test_the_number_that_means_no_limit_is_none(tmp_path: Path, meminfo: Path) -> None:
    """Version 1 writes no limit as a number larger than any memory."""
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory" / "memory.limit_in_bytes").write_text("9223372036854771712\n")
    (tmp_path / "memory" / "memory.usage_in_bytes").write_text(f"{700 * MIB}\n")

    assert cgroup.available_mib(tmp_path, meminfo) == 4000


def test_a_machine_without_a_driver_has_no_gpus() -> None:
    """NVML's absence is no error, and nothing to complain of."""
    ask = "from jobfetcher.hardware import collect, gpus; print(len(gpus()), len(collect().gpus))"
    environ = {**os.environ, **nvml.no_gpu()}
    done = subprocess.run(
        [sys.executable, "-c", ask], env=environ, check=True, capture_output=True, text=True
    )

    assert (done.stdout, done.stderr) == ("0 0\n", "")


def test_what_can_be_had_is_at_most_what_there_is() -> None:
    """On this very machine."""
    found = hardware.collect()

    assert 0 < found.available <= found.memory
