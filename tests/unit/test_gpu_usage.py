"""What GPUs are doing, through a stand-in for NVIDIA's management library."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import nvml
from tests.unit.test_gpus import HOPPER

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
    return nvml.build(tmp_path_factory.mktemp("nvml"))


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


def test_what_the_driver_keeps_for_itself_is_not_in_use(library: Path, tmp_path: Path) -> None:
    """As nvidia-smi says it. Drivers that do not tell the two apart are taken at their word."""
    busy = HOPPER.replace(" 0 9 0 0\n", " 22826254336 9 0 100\n")
    older = f"{busy}fail nvmlDeviceGetMemoryInfo_v2 13\n"
    found = [*usage(library, busy, tmp_path), *usage(library, older, tmp_path)]

    assert [(gpu["memory"], gpu["memory_used"], gpu["busy"]) for gpu in found] == [
        (81559, 21768, 100),
        (81559, 22248, 100),
    ]


@pytest.mark.parametrize("call", ["nvmlInit_v2", "nvmlDeviceGetCount_v2"])
def test_a_broken_driver_shows_nothing(library: Path, tmp_path: Path, call: str) -> None:
    """It is no reason to stop."""
    assert usage(library, f"{GPUS}fail {call} 9\n", tmp_path) == []


def test_without_a_driver_there_is_nothing_to_see(tmp_path: Path) -> None:
    """NVML's absence is no error."""
    assert usage(nvml.NO_GPU, "", tmp_path) == []
