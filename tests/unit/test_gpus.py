"""GPUs through a stand-in for NVIDIA's management library: found, broken, lost."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from jobfetcher.cli.stage import without_gpus
from jobfetcher.hardware import Gpu, cards
from tests import nvml

TWO = """driver 550.54.15
gpu GPU-aaaa NVIDIA_RTX_A5000 25757220864 1000000 8 6 0
gpu GPU-bbbb NVIDIA_H100 85899345920 1000000 9 0 0
"""
ASK = """
import json, logging, os, pathlib, sys
from dataclasses import asdict
from jobfetcher.hardware import Machine
logging.basicConfig(format="%(message)s", level="INFO")
machine, state = Machine(), pathlib.Path(os.environ["FAKE_NVML"])
for text in json.load(sys.stdin):
    state.unlink(missing_ok=True) if text is None else state.write_text(text)
    print(json.dumps([asdict(gpu) for gpu in machine.look().gpus]))
machine.close()
"""


MIB = 1024 * 1024
LOST = TWO.replace("8 6 0", "8 6 0 lost")


def a_gpu(uuid: str, model: str, memory: int, architecture: str, free: int) -> dict[str, Any]:
    return {"uuid": uuid, "model": model, "memory": memory, "architecture": architecture, "free": free}


HOPPER = """driver 580.159.04
gpu GPU-cccc NVIDIA_H100_80GB_HBM3 85520809984 0 9 0 0
reserved 0 503316480
whole 0
"""
"""What one says that is idle."""
H100 = a_gpu("GPU-bbbb", "NVIDIA H100", 81920, "9.0", 81919)


@pytest.mark.parametrize(
    ("uuids", "expected"),
    [((), 0), (("GPU-1", "GPU-2"), 2), (("GPU-1", "MIG-1", "MIG-2"), 2), (("MIG-1", "MIG-2"), 1)],
    ids=["none", "two", "one and one split", "one split"],
)
def test_instances_share_a_card(uuids: tuple[str, ...], expected: int) -> None:
    """So many device files a container must see at least."""
    assert expected == cards(tuple(Gpu(uuid, "H100", 1, "9.0", 1) for uuid in uuids))


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the stand-in library."""
    return nvml.build(tmp_path_factory.mktemp("nvml"))


def looks(library: Path, tmp_path: Path, *states: str | None) -> tuple[list[list[dict[str, Any]]], list[str]]:
    """What one worker finds at one look after the other, and what it logs. None: the driver is not loaded."""
    environ = {**os.environ, "LD_LIBRARY_PATH": str(library), "FAKE_NVML": str(tmp_path / "state")}
    done = subprocess.run(
        [sys.executable, "-c", ASK],
        input=json.dumps(states),
        env=environ,
        check=True,
        capture_output=True,
        text=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()], done.stderr.splitlines()


def ask(library: Path, state: str, tmp_path: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """What the worker finds at one look, and what it logs."""
    [found], said = looks(library, tmp_path, state)
    return found, said


def test_each_gpu_is_described(library: Path, tmp_path: Path) -> None:
    """Model, memory in MiB, free memory and compute capability, by the GPU's own UUID."""
    found, said = ask(library, TWO.replace(" 1000000 8 6", f" {1000 * MIB} 8 6"), tmp_path)

    assert found == [a_gpu("GPU-aaaa", "NVIDIA RTX A5000", 24564, "8.6", 23564), H100]
    assert said == []


def test_what_the_driver_keeps_for_itself_is_not_free(library: Path, tmp_path: Path) -> None:
    """Neither programs nor jobs can have it. A GPU that could be split, and is not, is one."""
    found, said = ask(library, HOPPER, tmp_path)

    assert found == [a_gpu("GPU-cccc", "NVIDIA H100 80GB HBM3", 81559, "9.0", 81079)]
    assert said == []


def test_a_split_gpu_is_its_instances(library: Path, tmp_path: Path) -> None:
    """In MIG mode a GPU cannot be had whole: its instances are offered, with its model and their memory."""
    parts = f"mig 1 MIG-1 {20000 * MIB} {100 * MIB}\nmig 1 MIG-2 {40000 * MIB} 0\n"
    found, said = ask(library, TWO + parts, tmp_path)

    assert [gpu["uuid"] for gpu in found] == ["GPU-aaaa", "MIG-1", "MIG-2"]
    assert found[1:] == [
        a_gpu("MIG-1", "NVIDIA H100", 20000, "9.0", 19900),
        a_gpu("MIG-2", "NVIDIA H100", 40000, "9.0", 40000),
    ]
    assert said == []


def test_a_gpu_split_into_nothing_offers_nothing(library: Path, tmp_path: Path) -> None:
    """MIG mode without instances: no container can use that GPU."""
    found, _ = ask(library, f"{TWO}mig 1\n", tmp_path)

    assert [gpu["uuid"] for gpu in found] == ["GPU-aaaa"]


@pytest.mark.row(46)
def test_a_trouble_is_said_once_and_its_end_too(library: Path, tmp_path: Path) -> None:
    """A worker looks often: it warns when the driver breaks, not each time, and sees it come back."""
    broken = f"{TWO}fail nvmlDeviceGetCount_v2 999\n"
    found, said = looks(library, tmp_path, TWO, broken, broken, None, TWO, TWO, broken)

    assert [len(gpus) for gpus in found] == [2, 0, 0, 0, 2, 2, 0]
    assert said == ["hardware.gpu-driver-broken", "hardware.gpus-are-back", "hardware.gpu-driver-broken"]


@pytest.mark.row(46)
def test_a_lost_gpu_may_come_back(library: Path, tmp_path: Path) -> None:
    """One GPU falls off the bus and returns while the other works on."""
    found, said = looks(library, tmp_path, TWO, LOST, LOST, TWO)

    assert [[gpu["uuid"] for gpu in gpus] for gpus in found[1:]] == [["GPU-bbbb"]] * 2 + [
        ["GPU-aaaa", "GPU-bbbb"]
    ]
    assert said == ["hardware.gpu-lost", "hardware.gpus-are-back"]


@pytest.mark.row(46)
@pytest.mark.parametrize("call", ["nvmlInit_v2", "nvmlDeviceGetCount_v2"])
def test_a_broken_driver_is_a_warning(library: Path, tmp_path: Path, call: str) -> None:
    """A driver that does not answer offers no GPU, says so, and stops nothing."""
    found, said = ask(library, f"{TWO}fail {call} 9\n", tmp_path)

    assert (found, "hardware.gpu-driver-broken" in said) == ([], True)


@pytest.mark.row(46)
def test_a_lost_gpu_does_not_take_the_others_along(library: Path, tmp_path: Path) -> None:
    """A GPU that fell off the bus is left out, with a warning."""
    found, said = ask(library, LOST, tmp_path)

    assert [gpu["uuid"] for gpu in found] == ["GPU-bbbb"]
    assert "hardware.gpu-lost" in said


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (f"{TWO}fail nvmlInit_v2 9\n", ["trouble with GPUs: Driver Not Loaded"]),
        (LOST, ["trouble with GPUs: GPU 0: GPU is lost"]),
        (TWO, []),
    ],
    ids=["broken", "one lost", "sound"],
)
def test_the_command_says_what_is_wrong(library: Path, tmp_path: Path, state: str, said: list[str]) -> None:
    """``jobfetcher hardware`` has the driver's own words, and who says what to do."""
    (tmp_path / "state").write_text(state)
    environ = {**os.environ, "LD_LIBRARY_PATH": str(library), "FAKE_NVML": str(tmp_path / "state")}
    environ["JOBFETCHER_PATH_BASE"] = str(tmp_path)
    command = [sys.executable, "-m", "jobfetcher", "hardware"]
    done = subprocess.run(command, env=environ, check=True, capture_output=True, text=True)

    assert [line for line in done.stdout.splitlines() if "trouble" in line] == said
    assert ("'jobfetcher doctor' says what to do." in done.stdout, done.stderr) == (bool(said), "")


def test_without_a_driver_nothing_is_loaded() -> None:
    """A machine without GPUs does without what asks them, which is a part of a waiting worker's memory."""
    program = (
        "import sys; from jobfetcher.hardware import Machine; "
        "print(Machine('libnowhere.so.1').look().gpus, 'pynvml' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)

    assert found.stdout == "() False\n"


def test_the_demo_finds_no_gpu(library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine that has some: not every engine there gives them to containers."""
    (tmp_path / "state").write_text(TWO)
    monkeypatch.setenv("LD_LIBRARY_PATH", str(library))
    environ = {**os.environ, "FAKE_NVML": str(tmp_path / "state")}
    command = [sys.executable, "-c", "from jobfetcher.hardware import gpus; print(len(gpus()))"]

    found = [
        subprocess.run(command, env=seen, check=True, capture_output=True, text=True).stdout
        for seen in (environ, {**environ, **without_gpus(tmp_path / "no-gpus")})
    ]

    assert found == ["2\n", "0\n"]
