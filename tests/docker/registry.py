"""A registry of the test's own on loopback, so that pulls are real. Engines trust 127.0.0.0/8 without TLS."""

import re
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import docker

from tests.images import busybox_image, remove_image

START_SECONDS = 30.0
_LISTENING = re.compile(r"listening on (127\.0\.0\.1:\d+)")
_CONFIG = """\
version: 0.1
log: {{level: info, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {folder}/data}}}}
http: {{addr: "127.0.0.1:0", secret: test}}
"""


class Registry:
    """Debian's docker-registry as a process, on a free port. Use it as a context manager.

    At the end every image that came from it is removed from the engine.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self.address = ""

    def __enter__(self) -> Self:
        program = shutil.which("docker-registry")
        if program is None:
            raise RuntimeError("There is no registry to pull from: apt-get install docker-registry.")
        config = self._folder / "config.yml"
        config.write_text(_CONFIG.format(folder=self._folder))
        with self._log.open("wb") as log:
            self._process = subprocess.Popen([program, "serve", str(config)], stdout=log, stderr=log)
        try:
            self.address = self._await_address()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()
        self._remove_images()

    def image(self, name: str) -> str:
        """What to call ``name`` (``repository:tag``) in a job."""
        return f"{self.address}/{name}"

    def publish(self, name: str, files: Mapping[str, str], changes: Sequence[str] = ()) -> str:
        """Push a busybox with these files. Returns what to call it.

        What the engine itself knows by that name stays as it is.
        """
        pushed = f"localhost:{self.address.rpartition(':')[2]}/{name}"
        busybox_image(pushed, files=files, changes=changes)
        client = docker.from_env().api
        try:
            # An engine of these days wants a login, if only an empty one.
            said = list(client.push(pushed, stream=True, decode=True, auth_config={}))
        finally:
            client.close()
            remove_image(pushed)
        assert [] == [line for line in said if "error" in line]
        return self.image(name)

    @property
    def _log(self) -> Path:
        return self._folder / "registry.log"

    def _await_address(self) -> str:
        assert self._process is not None
        deadline = time.monotonic() + START_SECONDS
        while (found := _LISTENING.search(self._log.read_text())) is None:
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise RuntimeError(f"The registry did not start:\n{self._log.read_text()[-2000:]}")
            time.sleep(0.02)
        return found[1]

    def _end(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(START_SECONDS)

    def _remove_images(self) -> None:
        client = docker.from_env().api
        try:
            for found in client.images():
                names = [*(found["RepoTags"] or ()), *(found["RepoDigests"] or ())]
                if any(name.startswith(f"{self.address}/") for name in names):
                    client.remove_image(found["Id"], force=True)
        finally:
            client.close()
