"""What the machine offers, within the limits of its cgroup."""

from pathlib import Path

from jobfetcher import hardware


def test_without_limits_the_machine_is_offered_whole(tmp_path: Path) -> None:
    """No cgroup limit: all memory and all cores of this process."""
    assert hardware.memory_mib(tmp_path) > 0
    assert hardware.cpu_cores(tmp_path) >= 1


def test_the_limits_of_cgroup_2_count(tmp_path: Path) -> None:
    """memory.max and cpu.max lower what is offered."""
    (tmp_path / "memory.max").write_text(f"{300 << 20}\n")
    (tmp_path / "cpu.max").write_text("100000 100000\n")

    assert (hardware.memory_mib(tmp_path), hardware.cpu_cores(tmp_path)) == (300, 1)


def test_the_limits_of_cgroup_1_count(tmp_path: Path) -> None:
    """The older files count as well."""
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory" / "memory.limit_in_bytes").write_text(f"{200 << 20}\n")
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("50000\n")
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")

    assert (hardware.memory_mib(tmp_path), hardware.cpu_cores(tmp_path)) == (200, 1)


def test_max_means_no_limit(tmp_path: Path) -> None:
    """The word max is no number and no limit."""
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "cpu.max").write_text("max 100000\n")

    assert hardware.memory_mib(tmp_path) == hardware.memory_mib(tmp_path / "none")
    assert hardware.cpu_cores(tmp_path) == hardware.cpu_cores(tmp_path / "none")


def test_a_machine_without_a_driver_has_no_gpus() -> None:
    """NVML's absence is no error."""
    assert hardware.gpus() == ()
