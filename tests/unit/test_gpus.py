"""GPUs through a stand-in for NVIDIA's management library: found, broken, lost."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "data" / "fake_nvml.c"
TWO = """driver 550.54.15
gpu GPU-aaaa NVIDIA_RTX_A5000 25757220864 1000000 8 6 0
gpu GPU-bbbb NVIDIA_H100 85899345920 1000000 9 0 0
"""
ASK = """
import json, logging, sys
from dataclasses import asdict
from jobfetcher.hardware import gpus
logging.basicConfig(format="%(message)s")
print(json.dumps([asdict(gpu) for gpu in gpus()]))
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the stand-in library."""
    folder = tmp_path_factory.mktemp("nvml")
    name = "libnvidia-ml.so.1"
    command = ["gcc", "-shared", "-fPIC", "-O1", f"-Wl,-soname,{name}", "-o", str(folder / name), str(SOURCE)]
    subprocess.run(command, check=True)
    return folder


def ask(library: Path, state: str, tmp_path: Path) -> tuple[list[dict[str, object]], str]:
    """What the worker finds, and what it logs."""
    file = tmp_path / "state"
    file.write_text(state)
    environ = {**os.environ, "LD_LIBRARY_PATH": str(library), "FAKE_NVML": str(file)}
    done = subprocess.run(
        [sys.executable, "-c", ASK], env=environ, check=True, capture_output=True, text=True
    )
    return json.loads(done.stdout), done.stderr


def test_each_gpu_is_described(library: Path, tmp_path: Path) -> None:
    """Model, memory in MiB and compute capability, by the GPU's own UUID."""
    found, _ = ask(library, TWO, tmp_path)

    assert found == [
        {"uuid": "GPU-aaaa", "model": "NVIDIA RTX A5000", "memory": 24564, "architecture": "8.6"},
        {"uuid": "GPU-bbbb", "model": "NVIDIA H100", "memory": 81920, "architecture": "9.0"},
    ]


@pytest.mark.row(46)
@pytest.mark.parametrize("call", ["nvmlInit_v2", "nvmlDeviceGetCount_v2"])
def test_a_broken_driver_is_a_warning(library: Path, tmp_path: Path, call: str) -> None:
    """A driver that does not answer offers no GPU, says so, and stops nothing."""
    found, said = ask(library, f"{TWO}fail {call} 9\n", tmp_path)

    assert (found, "hardware.gpu-driver-broken" in said) == ([], True)


@pytest.mark.row(46)
def test_a_lost_gpu_does_not_take_the_others_along(library: Path, tmp_path: Path) -> None:
    """A GPU that fell off the bus is left out, with a warning."""
    found, said = ask(library, TWO.replace("8 6 0", "8 6 0 lost"), tmp_path)

    assert [gpu["uuid"] for gpu in found] == ["GPU-bbbb"]
    assert "hardware.gpu-lost" in said
