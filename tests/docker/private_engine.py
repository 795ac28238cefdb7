"""A Docker engine of the test's own, to be killed and restarted. Needs root; the user's engine is untouched.

It lives in a network namespace of its own: a second engine in the host's namespace would take the first
one's bridge away.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from pathlib import Path
from types import TracebackType
from typing import Self

import docker
import docker.errors

START_SECONDS = 60.0


class PrivateEngine:
    """A dockerd with its own data, namespace and socket. Use it as a context manager."""

    def __init__(self, *flags: str) -> None:
        self._flags = flags
        self._namespace = f"jf-{uuid.uuid4().hex[:8]}"
        self._folder = Path(tempfile.mkdtemp(prefix="jf-engine-"))
        self._process: subprocess.Popen[bytes] | None = None
        self.base_url = f"unix://{self._folder}/docker.sock"

    def __enter__(self) -> Self:
        if os.geteuid() != 0:
            raise RuntimeError("A private Docker engine needs root: run these tests as root.")
        if shutil.which("dockerd") is None:
            raise RuntimeError("dockerd is not installed: apt-get install docker.io.")
        subprocess.run(["ip", "netns", "add", self._namespace], check=True)
        subprocess.run(["ip", "-n", self._namespace, "link", "set", "lo", "up"], check=True)
        try:
            self.start()
        except BaseException:
            self._discard()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._remove_containers()
            self.end(signal.SIGTERM)
        finally:
            self._discard()

    def start(self, *flags: str) -> None:
        """Start the engine, again or for the first time, and return when it answers."""
        for stale in self._folder.glob("exec/containerd/containerd.pid"):
            stale.unlink()
        (self._folder / "docker.pid").unlink(missing_ok=True)
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command(*flags), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise RuntimeError(f"The private engine did not start:\n{self._log_tail()}")
            time.sleep(0.1)

    @property
    def pid(self) -> int | None:
        """The engine's process id; None while it does not run."""
        return self._process.pid if self._process is not None else None

    def end(self, how: signal.Signals) -> None:
        """End the engine by SIGTERM or SIGKILL and return when it is gone."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(START_SECONDS)
            self._process = None

    def crash(self) -> None:
        """As if the power went: engine, containerd, shims and the containers' processes die at once."""
        doomed = self._shims_and_jobs()
        self.end(signal.SIGKILL)
        _kill(doomed)

    def _shims_and_jobs(self) -> list[int]:
        """Process ids of this engine's shims and of what they run."""
        shims = [pid for pid, line in _processes() if "containerd-shim" in line and str(self._folder) in line]
        return shims + [pid for pid, _ in _processes() if _parent(pid) in shims]

    def _command(self, *flags: str) -> list[str]:
        root = str(self._folder)
        inside = ["nsenter", f"--net=/run/netns/{self._namespace}"]
        places = ["--data-root", f"{root}/data", "--exec-root", f"{root}/exec"]
        listen = ["--pidfile", f"{root}/docker.pid", "-H", self.base_url]
        return [*inside, "dockerd", *places, *listen, "--storage-driver=vfs", *self._flags, *flags]

    def _answers(self) -> bool:
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(self.base_url.removeprefix("unix://"))
        except OSError:
            return False
        client = docker.APIClient(base_url=self.base_url, version="auto")
        client.close()
        return True

    def _remove_containers(self) -> None:
        if self._process is None:
            self.start()
        client = docker.APIClient(base_url=self.base_url, version="auto")
        try:
            for container in client.containers(all=True):
                try:
                    client.remove_container(container["Id"], force=True)
                except docker.errors.APIError as error:
                    if error.status_code not in (404, 409):  # gone, or going already
                        raise
        finally:
            client.close()

    def _discard(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(START_SECONDS)
        _kill(self._shims_and_jobs())
        # What the engine mounted (its own namespaces' files, live containers' layers) outlives it.
        mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
        for mount in sorted((one for one in mounts if one.startswith(str(self._folder))), reverse=True):
            subprocess.run(["umount", "--lazy", mount], check=False)
        subprocess.run(["ip", "netns", "delete", self._namespace], check=False)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _log_tail(self) -> str:
        return "\n".join((self._folder / "log").read_text(errors="replace").splitlines()[-10:])


def _kill(pids: list[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _processes() -> list[tuple[int, str]]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            found.append((int(entry.name), (entry / "cmdline").read_text().replace("\0", " ")))
    return found


def _parent(pid: int) -> int:
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return 0
