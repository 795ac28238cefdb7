"""Machines with pretended GPUs: NVIDIA's management library, and the hook by which containers get GPUs."""

import os
import subprocess
from pathlib import Path

SOURCE = Path(__file__).parent / "data" / "fake_nvml.c"
NO_GPU = Path(__file__).parent / "data" / "no-gpu"
"""Has a file of the library's name that is none."""
LIBRARY = "libnvidia-ml.so.1"
HOOK = "nvidia-container-runtime-hook"


def build(folder: Path) -> Path:
    """Compile the stand-in library into ``folder``, which then belongs into LD_LIBRARY_PATH."""
    command = ["gcc", "-shared", "-fPIC", "-O1", f"-Wl,-soname,{LIBRARY}"]
    subprocess.run([*command, "-o", str(folder / LIBRARY), str(SOURCE)], check=True)
    return folder


def no_gpu() -> dict[str, str]:
    """Variables of a process that finds no GPU, also on a machine that has some."""
    searched = [str(NO_GPU), *filter(None, [os.environ.get("LD_LIBRARY_PATH")])]
    return {"LD_LIBRARY_PATH": os.pathsep.join(searched)}


def environ(library: Path, state: Path, *gpus: tuple[str, str, int]) -> dict[str, str]:
    """Variables of a process that sees these GPUs (UUID, model, MiB), as ``state`` will describe them."""
    lines = [f"gpu {uuid} {model.replace(' ', '_')} {mib << 20} 0 9 0 0\n" for uuid, model, mib in gpus]
    state.write_text("".join(lines))
    return {"LD_LIBRARY_PATH": str(library), "FAKE_NVML": str(state)}


def hook(folder: Path) -> Path:
    """A hook that does nothing. An engine that finds it in its PATH gives containers GPUs, in name only."""
    program = folder / HOOK
    program.write_text("#!/bin/sh\nexit 0\n")
    program.chmod(0o755)
    return folder
