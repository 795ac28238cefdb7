"""Tiny images for the tests, the demo and the soak, made from this machine's busybox: no registry needed.

``python -m tests.images NAME`` makes one. An image is labelled, so that it can be found and removed.
"""

import io
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import docker
import docker.errors

BUSYBOX = Path("/bin/busybox")
LABEL = "org.decode.jobfetcher.test-image"
DEFAULT = "jobfetcher-test/busybox:latest"
_NO_FILES: Mapping[str, str] = {}
_CHANGES = ["ENV PATH=/bin", f"LABEL {LABEL}=true", 'CMD ["/bin/sh", "-c", "echo the image itself"]']


def busybox_image(
    name: str = DEFAULT,
    base_url: str | None = None,
    *,
    files: Mapping[str, str] = _NO_FILES,
    changes: Sequence[str] = (),
) -> str:
    """Make the image ``name`` if the engine does not have it, and return its exact id.

    ``files`` are executables to add (absolute path -> text), ``changes`` instructions as in a Dockerfile.
    Raises ``RuntimeError`` where busybox is not installed, ``docker.errors.DockerException`` where no
    engine answers.
    """
    client = docker.DockerClient(base_url=base_url) if base_url else docker.from_env()
    try:
        return _id(client, name)
    except docker.errors.ImageNotFound:
        repository, _, tag = name.rpartition(":")
        changes = [*_CHANGES, *changes]
        client.api.import_image_from_data(_root(files), repository=repository, tag=tag, changes=changes)
        return _id(client, name)
    finally:
        client.close()


def remove_image(name: str = DEFAULT, base_url: str | None = None) -> None:
    """Remove the image's name, and the image if it has no other. Quiet if there is none."""
    client = docker.DockerClient(base_url=base_url) if base_url else docker.from_env()
    try:
        client.api.remove_image(name, force=True)
    except docker.errors.ImageNotFound:
        pass
    finally:
        client.close()


def _id(client: docker.DockerClient, name: str) -> str:
    found = client.api.inspect_image(name)  # type: ignore[no-untyped-call] # missing in the stubs
    return str(found["Id"])


def _root(files: Mapping[str, str]) -> bytes:
    busybox = _busybox()
    listed = subprocess.run([busybox, "--list"], check=True, capture_output=True, text=True)
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        tar.add(busybox, "bin/busybox")
        for applet in listed.stdout.split():
            if applet != "busybox":
                tar.addfile(_member(f"bin/{applet}", tarfile.SYMTYPE, linkname="busybox"))
        tar.addfile(_member("tmp", tarfile.DIRTYPE, mode=0o1777))
        for path, text in files.items():
            content = text.encode()
            member = _member(path.lstrip("/"), tarfile.REGTYPE, mode=0o755)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return out.getvalue()


def _busybox() -> Path:
    found = BUSYBOX if BUSYBOX.exists() else Path(shutil.which("busybox") or BUSYBOX)
    if not found.exists():
        raise RuntimeError("There is no busybox to make an image of: apt-get install busybox-static.")
    return found


def _member(name: str, kind: bytes, linkname: str = "", mode: int = 0o777) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname, member.mode = kind, linkname, mode
    return member


if __name__ == "__main__":
    print(busybox_image(*sys.argv[1:2]))
