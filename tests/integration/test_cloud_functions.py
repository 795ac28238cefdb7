"""What a cloud function imports: light, and enough to do a job's steps one by one."""

import os
import re
import subprocess
import sys
from pathlib import Path

from mock_api.client import TOKEN, MockServer

README = Path(__file__).parents[2] / "README.md"
HEAVY = ("docker", "sqlalchemy", "transitions", "boto3", "pynvml", "typer", "rich")


def run(code: str, cwd: Path, **variables: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=cwd,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_public_names_load_nothing_heavy(tmp_path: Path) -> None:
    """Importing everything that is public loads no engine client, database, login library or NVML."""
    code = "import sys, jobfetcher; [getattr(jobfetcher, name) for name in jobfetcher.__all__]\n"
    loaded = run(f"{code}print(*sorted(set(sys.modules) & set({HEAVY})))", tmp_path)

    assert loaded.split() == []


def test_the_readmes_program_does_a_job(tmp_path: Path, mock: MockServer) -> None:
    """The program that the README shows takes a job from the API to finished."""
    program = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)[0]
    mock.control.put_file("/user/x", b"content")
    job = mock.control.submit(
        files_down={"data/x": "/user/x"}, files_up={"output": "data"}, hardware={"memory": 1000}
    )

    run(program, tmp_path, API_URL=mock.url, ACCESS_TOKEN=TOKEN, WORK=str(tmp_path))

    assert mock.control.statuses(job) == ["preprocessing", "running", "postprocessing", "finished"]
    assert mock.control.uploaded(job, "output/data/x") == b"content"
    assert mock.control.violations() == []
