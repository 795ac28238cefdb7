"""What GPUs are doing, through a stand-in for NVIDIA's management library."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from jobfetcher.hardware import gpu_usage

SOURCE = Path(__file__).parents[1] / "data" / "fake_nvml.c"
GPUS = """driver 550.54.15
gpu GPU-aaaa NVIDIA_RTX_A5000 25757220864 1073741824 8 6 73
gpu GPU-bbbb NVIDIA_H100 85899345920 0 9 0 5 lost
"""
ASK = """
import json
from dataclasses import asdict
from jobfetcher.hardware import gpu_usage
with gpu_usage() as usage:
    print(json.dumps([asdict(gpu) for gpu in usage()]))
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the stand-in library."""
    folder = tmp_path_factory.mktemp("nvml")
    name = "libnvidia-ml.so.1"
    command = ["gcc", "-shared", "-fPIC", "-O1", f"-Wl,-soname,{name}", "-o", str(folder / name), str(SOURCE)]
    subprocess.run(command, check=True)
    return folder


def usage(library: Path, state: str, tmp_path: Path) -> list[dict[str, object]]:
    file = tmp_path / "state"
    file.write_text(state)
    environ = {**os.environ, "LD_LIBRARY_PATH": str(library), "FAKE_NVML": str(file)}
    done = subprocess.run(
        [sys.executable, "-c", ASK], env=environ, check=True, capture_output=True, text=True
    )
    found: list[dict[str, object]] = json.loads(done.stdout)
    return found


def test_a_gpu_says_what_it_does(library: Path, tmp_path: Path) -> None:
    """How busy it is, its memory in MiB, its temperature; one that is lost is left out."""
    found = usage(library, GPUS, tmp_path)

    assert found == [
        {
            "uuid": "GPU-aaaa",
            "model": "NVIDIA RTX A5000",
            "memory": 24564,
            "memory_used": 1024,
            "busy": 73,
            "celsius": 40,
        }
    ]


def test_what_a_driver_does_not_say_is_not_guessed(library: Path, tmp_path: Path) -> None:
    """A GPU that is split tells neither how busy nor how warm it is."""
    silent = "fail nvmlDeviceGetUtilizationRates 3\nfail nvmlDeviceGetTemperature 3\n"
    found = usage(library, GPUS + silent, tmp_path)

    assert [(gpu["busy"], gpu["celsius"]) for gpu in found] == [(None, None)]


@pytest.mark.parametrize("call", ["nvmlInit_v2", "nvmlDeviceGetCount_v2"])
def test_a_broken_driver_shows_nothing(library: Path, tmp_path: Path, call: str) -> None:
    """It is no reason to stop."""
    assert usage(library, f"{GPUS}fail {call} 9\n", tmp_path) == []


def test_without_a_driver_there_is_nothing_to_see() -> None:
    """NVML's absence is no error."""
    with gpu_usage() as ask:
        assert ask() == ()
