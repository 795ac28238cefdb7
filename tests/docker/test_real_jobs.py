"""Jobs as the user-facing API really makes them, with stand-ins for the programs in their images.

Only the registry's name is changed. Each stand-in writes down what the job's shell gave it.
"""

import hashlib
import json
import random
from pathlib import Path
from typing import Any

import pytest

from mock_api.client import MockServer
from tests.docker.acts import assert_nothing_left, wait_for
from tests.docker.registry import Registry
from tests.service_view import GOOD, told
from tests.worker_process import WorkerProcess

pytestmark = pytest.mark.docker

JOBS = Path(__file__).parent.parent / "data" / "jobs"
REGISTRY = "public.ecr.aws"
NOISE = random.Random(7)
FRAMES = NOISE.randbytes(6_000_001)
ARGUMENTS = """\
#!/bin/sh -e
value() { for pair in "$@"; do case $pair in "$name="*) echo "${pair#*=}" ;; esac; done; }
"""
ENTRYPOINT = f"""{ARGUMENTS}
case $1 in
--train)
  name=--model_path; model=$(value "$@")/2026-03-01_host
  name=--log_path; log=$(value "$@")
  mkdir "$model"
  printf '%s\\n' "$@" > "$log/arguments"
  name=--calib_path; cp "$(value "$@")" "$model/model_0.pt"
  name=--param_path; cp "$(value "$@")" "$model/param_run_in.yaml" ;;
--fit)
  name=--emitter_path; emitters=$(value "$@")
  printf '%s\\n' "$@" > "$(dirname "$emitters")/arguments"
  name=--frame_path; cp "$(value "$@")" "$emitters"
  name=--model_path; cp "$(value "$@")"/*/model_0.pt "$emitters.model" ;;
esac
"""
PYTHON = f"""{ARGUMENTS}
case "$1 $2" in
"-m cli.config") echo default > "$3/defaults.yaml" ;;
"-m cli.train")
  name=Paths.logging; printf '%s\\n' "$@" > "$(value "$@")/arguments"
  name=Paths.experiment; model=$(value "$@")/run; mkdir "$model"
  cp -r /files/config "$model/config"
  name=Paths.calibration; cp "$(value "$@")" "$model/model.pt" ;;
"-m docker_entrypoint")
  name=--localizations_path; locs=$(value "$@")
  name=--output_path; cp "$locs" "$(value "$@")/drift.csv"
  printf '%s\\n' "$@" ;;
*) exit 64 ;;
esac
"""


def submit(mock: MockServer, registry: Registry, name: str, **inputs: bytes) -> int:
    """Queue the job of that name with an image of the registry. ``inputs`` are by the file's stem."""
    spec: dict[str, Any] = json.loads((JOBS / f"{name}.json").read_text())
    handler = spec["job"]["handler"]
    handler["image_url"] = handler["image_url"].replace(REGISTRY, registry.address)
    for file_id in handler["files_down"].values():
        mock.control.put_file(file_id, inputs.pop(Path(file_id).stem))
    assert inputs == {}
    return mock.control.submit(spec)


def publish(registry: Registry, name: str, path: str, script: str) -> None:
    spec = json.loads((JOBS / f"{name}.json").read_text())
    url: str = spec["job"]["handler"]["image_url"]
    registry.publish(url.removeprefix(f"{REGISTRY}/"), {path: script})


def uploads(mock: MockServer, job: int) -> dict[str, str]:
    """What the job uploaded: path → SHA-256, without the container's log."""
    assert told(mock, job) == GOOD
    assert mock.control.violations() == []
    found = {upload.path: upload.sha256 for upload in mock.control.uploads(job)}
    del found["log/log/container.log"]
    return found


def arguments(mock: MockServer, job: int, path: str) -> list[str]:
    return mock.control.uploaded(job, path).decode().splitlines()


def sums(files: dict[str, bytes]) -> dict[str, str]:
    return {path: hashlib.sha256(content).hexdigest() for path, content in files.items()}


def test_decode_0_10_1_trains_and_fits(mock: MockServer, worker: WorkerProcess, registry: Registry) -> None:
    """The model goes up under its folder's own name, which is where the fit looks for it; the fit makes its
    output folder itself."""
    publish(registry, "decode-v0_10_1-train", "/docker/entrypoint.sh", ENTRYPOINT)
    worker.start()

    train = submit(mock, registry, "decode-v0_10_1-train", calib=b"calibration", param=b"a: 1\n")
    fit = submit(
        mock,
        registry,
        "decode-v0_10_1-fit",
        frame_meta=b"b: 2\n",
        frames=FRAMES,
        param_run_in=b"a: 1\n",
        model_0=b"weights",
    )
    wait_for(mock, train, "finished")
    wait_for(mock, fit, "finished")

    trained = uploads(mock, train)
    assert trained.pop("log/log/arguments")
    assert trained == sums(
        {
            "artifact/model/2026-03-01_host/model_0.pt": b"calibration",
            "artifact/model/2026-03-01_host/param_run_in.yaml": b"a: 1\n",
        }
    )
    assert arguments(mock, train, "log/log/arguments") == [
        "--train",
        "--calib_path=/files/data/calib.mat",
        "--param_path=/files/config/param.yaml",
        "--model_path=/files/model",
        "--log_path=/files/log",
    ]
    fitted = uploads(mock, fit)
    assert fitted.pop("artifact/output/arguments")
    assert fitted == sums(
        {"artifact/output/emitter.h5": FRAMES, "artifact/output/emitter.h5.model": b"weights"}
    )
    assert arguments(mock, fit, "artifact/output/arguments") == [
        "--fit",
        "--frame_path=/files/data/frames.tif",
        "--frame_meta_path=/files/config/frame_meta.yaml",
        "--model_path=/files/artifact/model",
        "--emitter_path=/files/output/emitter.h5",
    ]
    assert_nothing_left(worker.base)


def test_decode_latest_trains(mock: MockServer, worker: WorkerProcess, registry: Registry) -> None:
    """It makes its configuration folder itself, and finds its calibration and its transformation."""
    publish(registry, "decode-latest-train", "/bin/python", PYTHON)
    worker.start()

    job = submit(
        mock,
        registry,
        "decode-latest-train",
        conf_run=b"c: 3\n",
        beads_3dcal=b"calibration",
        beads_trafo=b"transformation",
    )
    wait_for(mock, job, "finished")

    found = uploads(mock, job)
    assert found.pop("log/log/arguments")
    assert found == sums(
        {
            "artifact/model/run/config/conf_run.yaml": b"c: 3\n",
            "artifact/model/run/config/defaults.yaml": b"default\n",
            "artifact/model/run/model.pt": b"calibration",
        }
    )
    assert arguments(mock, job, "log/log/arguments") == [
        "-m",
        "cli.train",
        "--config-path=/files/config",
        "--config-name=/files/config/conf_run",
        "Paths.calibration=/files/data/beads_3dcal.mat",
        "Paths.experiment=/files/model",
        "Paths.logging=/files/log",
        "Paths.trafo=/files/data/beads_trafo.mat",
    ]


def test_comet_runs(mock: MockServer, worker: WorkerProcess, registry: Registry) -> None:
    """Its shell looks for either of two kinds of input, and its log is what it printed."""
    publish(registry, "comet-latest-run", "/bin/python", PYTHON)
    worker.start()

    job = submit(mock, registry, "comet-latest-run", comet=b"d: 4\n", locs=b"x,y\n1,2\n")
    wait_for(mock, job, "finished")

    found = uploads(mock, job)
    assert found.pop("log/log/log.log")
    assert found == sums({"output/output/drift.csv": b"x,y\n1,2\n"})
    assert arguments(mock, job, "log/log/log.log") == [
        "-m",
        "docker_entrypoint",
        "--localizations_path=/files/data/locs.csv",
        "--param_path=/files/config/comet.yaml",
        "--output_path=/files/output",
    ]
