"""``deploy/jobfetcher.service``: systemd takes it, it is tight, and it says what the worker relies on.

Needs ``systemd-analyze`` (Debian's package systemd), which works without a running systemd.
"""

import configparser
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

UNIT = Path(__file__).parents[2] / "deploy" / "jobfetcher.service"
COMMAND = "/opt/jobfetcher/bin/jobfetcher"
EXPOSURE = 20
"""The most that 'systemd-analyze security' may find, in tenths: 100 is no protection at all."""


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The unit with a command that this machine has."""
    command = Path(sys.executable).with_name("jobfetcher")
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace(COMMAND, str(command)))
    return unit


def analyzed(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", *map(str, arguments)], capture_output=True, text=True, check=False
    )


def test_systemd_takes_it(installed: Path) -> None:
    """Every line is understood."""
    done = analyzed("verify", installed)

    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_it_is_tight(installed: Path) -> None:
    """What it may do beyond its work is little, by systemd's own measure."""
    done = analyzed("security", "--offline=true", "--no-pager", f"--threshold={EXPOSURE}", installed)
    print(done.stdout.splitlines()[-1])

    assert done.returncode == 0, done.stdout


def service() -> Mapping[str, str]:
    reader = configparser.RawConfigParser(strict=False, interpolation=None)
    reader.optionxform = str  # type: ignore[assignment,method-assign]  # as the library's own manual does it
    reader.read(UNIT)
    return reader["Service"]


def test_it_keeps_what_the_worker_promises() -> None:
    """A drained worker stays down, one that fails or hangs comes again, and jobs outlive a stop."""
    said = service()

    assert (said["Type"], said["Restart"], said["KillMode"]) == ("notify", "on-failure", "process")
    assert "WatchdogSec" in said
    assert int(said["TimeoutStopSec"]) > 5
    assert said["RestartPreventExitStatus"] == "2"


def test_containers_see_what_the_worker_writes() -> None:
    """Its folder is the host's own, under its real name, and other accounts can read the inputs."""
    said = service()

    assert said["StateDirectory"] == "jobfetcher"
    assert said["UMask"] == "0022"
    assert [
        name for name in ("DynamicUser", "RootDirectory", "PrivateUsers", "PrivateDevices") if name in said
    ] == []
