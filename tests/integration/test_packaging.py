"""What is handed out: the wheel and the source archive are whole, and install with pip and with uv.

Makes environments of its own. What they lack comes from the package index that pip is set up for.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import urllib.request
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

import jobfetcher
from mock_api.client import TOKEN

pytestmark = pytest.mark.timeout(600)

ROOT = Path(__file__).parents[2]
SHIPPED = ("jobfetcher", "states", "persistence", "mock_api")
WORDS_OF_HELP = ("run", "jobs", "doctor", "db", "version")


@dataclass(frozen=True)
class Tools:
    """What builds and installs."""

    python: Path
    uv: Path


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Tools:
    """Hatchling, and uv where this machine has none, in an environment of their own."""
    folder = tmp_path_factory.mktemp("tools")
    venv.create(folder, with_pip=True)
    there = shutil.which("uv")
    wanted = ["hatchling>=1.26", *([] if there else ["uv"])]
    call(folder / "bin" / "python", "-m", "pip", "install", "--quiet", *wanted)
    return Tools(folder / "bin" / "python", Path(there) if there else folder / "bin" / "uv")


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what git has or would take, as it is at this moment."""
    folder = tmp_path_factory.mktemp("tree")
    for name in call("git", "ls-files", "-co", "--exclude-standard", cwd=ROOT).splitlines():
        if (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def built(tools: Tools, tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the source archive and the wheel that was made from it."""
    folder = tmp_path_factory.mktemp("dist")
    call(tools.python, "-m", "hatchling", "build", "-t", "sdist", "-d", str(folder), cwd=tree)
    [archive] = folder.glob("*.tar.gz")
    quick = ("--quiet", "--no-deps", "--no-build-isolation")
    call(tools.python, "-m", "pip", "wheel", *quick, archive, cwd=folder)
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    [found] = built.glob("*.whl")
    print(f"The wheel has {found.stat().st_size / 1000:.0f} kB.")
    return found


def call(*command: str | Path, cwd: Path | None = None, **variables: str) -> str:
    """What the command printed; it must end well. Nothing of this project is on its path."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env={**environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def assert_works(environment: Path, folder: Path) -> None:
    """The command and the public names are there, from that environment and not from this tree."""
    command, python = environment / "bin" / "jobfetcher", environment / "bin" / "python"
    names = ", ".join(sorted(jobfetcher.__all__))
    code = f"from jobfetcher import {names}; import jobfetcher; print(jobfetcher.__file__)"
    where = call(python, "-c", code, cwd=folder).strip()
    helped = call(command, "--help", cwd=folder)

    assert Path(where).is_relative_to(environment)
    assert call(command, "--version", cwd=folder).strip() == jobfetcher.__version__
    assert [word for word in WORDS_OF_HELP if word not in helped] == []


def test_the_wheel_is_whole(wheel: Path, tree: Path) -> None:
    """Every file of the packages is in it: migrations, pages, type markers. And nothing else."""
    there = {
        str(file.relative_to(tree)) for name in SHIPPED for file in (tree / name).rglob("*") if file.is_file()
    }
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}

    assert packed == there
    assert {"persistence/migrations/versions/0001_first.py", "jobfetcher/py.typed"} <= packed


def test_the_source_archive_is_whole(built: Path, tree: Path) -> None:
    """It is the repository: what the README points to, and what runs the tests, too."""
    there = {str(file.relative_to(tree)) for file in tree.rglob("*") if file.is_file()}
    [found] = built.glob("*.tar.gz")
    with tarfile.open(found) as archive:
        packed = {item.name.partition("/")[2] for item in archive if item.isfile()}

    assert there | {"PKG-INFO"} == packed


def test_the_tree_makes_the_wheel_of_the_archive(
    tools: Tools, tree: Path, wheel: Path, tmp_path: Path
) -> None:
    """Built from the source archive or from the tree: the same files."""
    call(tools.python, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path), cwd=tree)

    assert contents(wheel) == contents(tmp_path / wheel.name)


def contents(wheel: Path) -> dict[str, int]:
    """Names and checksums."""
    with zipfile.ZipFile(wheel) as archive:
        return {item.filename: item.CRC for item in archive.infolist()}


def test_pip_installs_it(tools: Tools, wheel: Path, tmp_path: Path) -> None:
    """Into an empty environment. What it depends on is lent by the one that the tests run in."""
    environment = tmp_path / "venv"
    venv.create(environment)
    pip = (tools.python, "-m", "pip", "--python", environment / "bin" / "python")
    call(*pip, "install", "--quiet", "--no-deps", wheel)
    [site] = environment.glob("lib/python3*/site-packages")
    (site / "lent.pth").write_text(sysconfig.get_path("purelib") + "\n")

    assert_works(environment, tmp_path)


def test_uv_installs_it_with_all_that_it_needs(tools: Tools, wheel: Path, tmp_path: Path) -> None:
    """From the index, in the locked versions: nothing is missing from what it says it depends on.

    With the extra ``mock`` the mock API answers.
    """
    environment = tmp_path / "venv"
    python = environment / "bin" / "python"
    call(tools.uv, "venv", "--quiet", "--python", sys.executable, environment)
    call(
        tools.uv, "pip", "install", "--quiet", "--python", python, "--constraint", ROOT / "requirements.lock",
        f"jobfetcher[mock] @ {wheel.as_uri()}",
    )  # fmt: skip

    assert_works(environment, tmp_path)
    assert_the_mock_answers(python, tmp_path)


def assert_the_mock_answers(python: Path, folder: Path) -> None:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    command = [str(python), "-m", "mock_api", "--data", str(folder / "mock")]
    with subprocess.Popen(command, cwd=folder, env=environ, stdout=subprocess.PIPE, text=True) as mock:
        assert mock.stdout is not None
        try:
            url = mock.stdout.readline().split()[-1]
            request = urllib.request.Request(
                f"{url}/jobs?memory=1", headers={"Authorization": f"Bearer {TOKEN}"}
            )
            with urllib.request.urlopen(request, timeout=60) as answer:
                assert answer.read() == b"{}"
        finally:
            mock.terminate()
