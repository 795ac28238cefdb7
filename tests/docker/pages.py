"""The documentation's commands, and a stage on which they can be run.

Every fenced block marked ``sh`` of a page is run, in order, by one shell. What differs from a reader's
machine is either changed in the text (``Stage.here``) or taken over by a stand-in on the PATH: ``make`` and
``pip install`` only say what they would do, ``docker`` has names and an image of its own, ``curl`` fails
where the server refuses, and of ``python -m bench`` only the options are checked.
"""

import os
import re
import shutil
import socket
import stat
import subprocess
import sys
import uuid
from pathlib import Path
from types import TracebackType
from typing import Self

from jobfetcher.runners.process import ProcessRunner
from mock_api.client import TOKEN, MockServer

ROOT = Path(__file__).parents[2]
WORKER = "w"
"""Name of the stage's worker, also in the database of an older one that it takes over."""
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
SERVER = re.compile(r"^(.*(?:jobfetcher run|python -m mock_api --.*))$", re.MULTILINE)
IN_BACKGROUND = r"""\1 >server.log 2>&1 &
set +x; until grep -qE 'worker.started|listening on' server.log; do kill -0 $!; sleep .05; done; set -x"""
SETTINGS = re.compile(r"(?:[A-Z_]+=\S*\n)+")
SCRIPT_SECONDS = 240

DOCKER = r"""#!{python}
import os, subprocess, sys, time
words, act = sys.argv[1:], sys.argv[1]
if act == "build":
    words = ["build", "--quiet", "--tag", "{image}", "{root}"]
elif act == "run":
    words = ["run", "--network", "host", *(word for word in words[1:] if word not in ("--gpus", "all"))]
    at = next(n for n, word in enumerate(words) if word == "jobfetcher" and words[n - 1] != "--name")
    words[at] = "{image}"
    words = ["{name}" if word == "jobfetcher" else word for word in words]
elif act == "compose":  # another test brings it up
    words = [word for word in words[1:] if word not in ("up", "-d", "--build")]
    plugin = subprocess.call(["{docker}", "compose", "version"], stdout=-3, stderr=-3) == 0
    program = ["{docker}", "compose"] if plugin else ["docker-compose"]
    sys.exit(subprocess.call([*program, *words, "config", "-q"]))
elif "{loop}":
    open("{loop}." + act, "w").close()
    while os.path.exists("{loop}." + act):
        time.sleep(0.05)
    sys.exit()
else:
    words[words.index("jobfetcher")] = "{name}"
code = subprocess.call(["{docker}", *words])
for attempt in range(60 if act == "exec" else 0):  # a worker needs a moment until there is something to see
    if code == 0:
        break
    time.sleep(1)
    code = subprocess.call(["{docker}", *words])
sys.exit(code)
"""
MAKE = '#!/bin/bash\nexec {make} --directory {root} --dry-run "$@" >/dev/null\n'
PIP = '#!/bin/bash\ncd {root} && exec {python} -m pip --quiet "$1" --dry-run --no-deps "${{@:2}}"\n'
CURL = '#!/bin/bash\nexec {curl} --fail --silent --show-error "$@"\n'
PYTHON = """#!/bin/bash
case "$*" in "-m bench"*) exec {python} "$@" --help >/dev/null ;; esac
exec {python} "$@"
"""

BEGIN = """set -euo pipefail; ended() { code=$?; set +x; kill $(jobs -p) 2>/dev/null || true
[ $code = 0 ] || cat server.log 2>/dev/null || true; }; trap ended EXIT"""
LOOP = """
jobfetcher run & worker=$!
while sleep .05; do
  if [ -e {loop}.stop ]; then kill $worker; wait $worker || true; rm {loop}.stop; worker=; fi
  if [ -e {loop}.start ]; then
    jobfetcher run & worker=$!
    until jobfetcher health; do sleep .1; done
    rm {loop}.start
  fi
  if [ -n "$worker" ] && ! kill -0 $worker 2>/dev/null; then jobfetcher run & worker=$!; fi
done
"""
"""A worker that is started again when it ends, as Docker does with ``--restart unless-stopped``."""


def blocks(page: Path) -> list[str]:
    """What a reader is told to type, block by block."""
    return BLOCK.findall(page.read_text())


class Stage:
    """A folder, a mock API, and a PATH for the commands of one page."""

    def __init__(self, folder: Path, mock: MockServer, image: str) -> None:
        self.folder, self.mock, self.image = folder, mock, image
        self.base, self.clone = folder / "base", folder / "clone"
        self.name = f"jobfetcher-test-docs-{uuid.uuid4().hex[:8]}"
        self._port = _free_port()
        self._bin = folder / "bin"
        self._settings: dict[str, str] = {}
        self._loop: subprocess.Popen[bytes] | None = None
        for made in (self.base, self._bin, self.clone, folder / "mnt" / "new"):
            made.mkdir(parents=True)
        shutil.copytree(ROOT / "deploy", self.clone / "deploy")
        (self.clone / "deploy" / ".env").touch()

    def __enter__(self) -> Self:
        self._stand_ins()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._loop is not None:
            os.killpg(self._loop.pid, 9)
            self._loop.wait()
            runner = ProcessRunner(WORKER, self.base / "runs")
            for run in runner.owned():
                runner.stop(run, grace_seconds=0)
                runner.remove(run)
        subprocess.run(["docker", "rm", "-f", self.name], capture_output=True, check=False)

    def with_worker(self, **settings: str) -> Self:
        """Let a worker run beside the commands, and be started again whenever it ends."""
        self._settings = settings
        script = LOOP.format(loop=self.folder / "loop")
        with (self.folder / "worker.log").open("ab") as log:
            self._loop = subprocess.Popen(
                ["bash", "-c", script],
                env=self._environ(),
                cwd=self.folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._stand_ins()
        return self

    def run(self, page: Path) -> subprocess.CompletedProcess[str]:
        """Run all commands of the page, in their order, up to the first that fails."""
        script = "\n".join([BEGIN, *(self.here(block) for block in blocks(page))])
        return subprocess.run(
            ["bash", "-xc", script],
            env=self._environ(),
            cwd=self.clone,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=SCRIPT_SECONDS,
            check=False,
        )

    def here(self, block: str) -> str:
        """The block with this stage's addresses and folders in place of the reader's."""
        if SETTINGS.fullmatch(block):
            block = f"cat > .env <<'END'\n{block}END\n"
        changes = self._changes()
        block = re.sub("|".join(map(re.escape, changes)), lambda found: changes[found[0]], block)
        block = re.sub(r"^PASSWORD=.*\n", "", block, flags=re.MULTILINE)
        return SERVER.sub(IN_BACKGROUND, block)

    def _changes(self) -> dict[str, str]:
        return {
            "https://api.example.org": self.mock.url,
            "USERNAME=my-lab": f"ACCESS_TOKEN={TOKEN}\nMIN_FREE_DISK=0\nTIMEOUT_JOB=0.3\nNETWORK=none",
            "/srv/jobfetcher jobfetcher run": f"{self.folder / 'another'} jobfetcher run",
            "/srv/jobfetcher": str(self.base),
            "/mnt/": f"{self.folder / 'mnt'}/",
            "/tmp/": f"{self.folder}/",
            "8400": str(self._port),
            "show 17": "show 1",
            "backup-0002": "backup-0001",
        }

    def _stand_ins(self) -> None:
        known = {
            "python": sys.executable,
            "root": ROOT,
            "image": self.image,
            "name": self.name,
            "loop": self.folder / "loop" if self._loop else "",
            **{program: shutil.which(program) for program in ("docker", "make", "curl")},
        }
        texts = {"docker": DOCKER, "make": MAKE, "pip": PIP, "curl": CURL, "python": PYTHON}
        for name, text in texts.items():
            program = self._bin / name
            program.write_text(text.format(**known))
            program.chmod(program.stat().st_mode | stat.S_IXUSR)

    def _environ(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("JOBFETCHER_")}
        settings = {f"JOBFETCHER_{name}": value for name, value in self._settings.items()}
        path = f"{self._bin}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        return {**kept, **settings, "PATH": path}


def _free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])
