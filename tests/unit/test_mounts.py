"""``PATH_HOST_BASE`` found out: which container this is, and what its mounts make of a path."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from jobfetcher.runners.engine import Refused
from jobfetcher.runners.mounts import (
    HostFolder,
    HostName,
    ids_in_cgroup,
    ids_in_mountinfo,
    is_container,
    mounted,
    own_ids,
    source_of,
)
from states.errors import Paused

OUTER, OWN = "a" * 63 + "0", "b" * 63 + "1"
V1 = f"""\
12:pids:/docker/{OWN}
9:memory:/docker/{OUTER}/docker/{OWN}
1:name=systemd:/docker/{OWN}
0::/
"""
V2_PRIVATE = "0::/\n"
V2_SYSTEMD = f"0::/system.slice/docker-{OWN}.scope\n"
PODMAN = f"0::/machine.slice/libpod-{OWN}.scope/container\n"
HOST = "9:name=systemd:/user.slice\n0::/user.slice/user-1000.slice/session-2.scope\n"
LAYER = "c" * 64
DOCKER_MOUNTS = f"""\
704 610 0:50 / / rw,relatime - overlay overlay rw,lowerdir=/var/lib/docker/overlay2/{LAYER}/diff
705 704 0:53 / /proc rw,nosuid - proc proc rw
716 704 254:1 /srv/two\\040words /data rw,relatime - ext4 /dev/vda1 rw
717 704 254:1 /var/lib/docker/volumes/{LAYER}/_data /cache rw,relatime - ext4 /dev/vda1 rw
718 704 254:1 /var/lib/docker/containers/{OWN}/resolv.conf /etc/resolv.conf rw - ext4 /dev/vda1 rw
719 704 254:1 /var/lib/docker/containers/{OWN}/hostname /etc/hostname rw,relatime - ext4 /dev/vda1 rw
"""
PODMAN_MOUNTS = f"""\
900 1 0:44 /containers/storage/overlay-containers/{OWN}/userdata/hosts /etc/hosts rw - tmpfs tmpfs rw
901 1 0:44 /data /data rw - tmpfs tmpfs rw
"""
HOST_MOUNTS = "22 1 254:1 / / rw,relatime - ext4 /dev/vda1 rw\n23 22 0:21 / /proc rw - proc proc rw\n"


def bind(source: str, destination: str, **more: str) -> dict[str, str]:
    return {"Type": "bind", "Source": source, "Destination": destination, **more}


VOLUME = {
    "Type": "volume",
    "Name": "jobs",
    "Source": "/var/lib/docker/volumes/jobs/_data",
    "Destination": "/data",
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(V1, {OWN}, id="version 1, one line nested in another container"),
        pytest.param(V2_PRIVATE, set(), id="version 2 with a namespace of its own"),
        pytest.param(V2_SYSTEMD, {OWN}, id="version 2 under systemd"),
        pytest.param(PODMAN, {OWN}, id="podman"),
        pytest.param(HOST, set(), id="no container"),
        pytest.param("", set(), id="nothing"),
    ],
)
def test_a_control_group_names_the_container(text: str, expected: set[str]) -> None:
    """The innermost id of a line is the container's own."""
    assert expected == set(ids_in_cgroup(text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(DOCKER_MOUNTS, {OWN}, id="docker"),
        pytest.param(PODMAN_MOUNTS, {OWN}, id="podman"),
        pytest.param(HOST_MOUNTS, set(), id="no container"),
    ],
)
def test_the_engines_own_files_name_the_container(text: str, expected: set[str]) -> None:
    """Neither a layer's id nor an anonymous volume's is taken for it."""
    assert expected == set(ids_in_mountinfo(text))


def test_mount_points_are_read_as_they_are_written() -> None:
    """A blank in a name, which the kernel writes as a number, is a blank."""
    assert ("/srv/two words", "/data") in mounted(DOCKER_MOUNTS)


@pytest.mark.parametrize(
    ("mounts", "folder", "expected"),
    [
        pytest.param([bind("/srv/jobs", "/data")], "/data", "/srv/jobs", id="a folder"),
        pytest.param([bind("/srv", "/data")], "/data/a/b", "/srv/a/b", id="a folder around it"),
        pytest.param([VOLUME], "/data", "/var/lib/docker/volumes/jobs/_data", id="a named volume"),
        pytest.param([bind("/a", "/"), bind("/b", "/data")], "/data/x", "/b/x", id="the longest wins"),
        pytest.param([bind("/b", "/data"), bind("/c", "/data/x")], "/data/x", "/c", id="in any order"),
        pytest.param([bind("/a", "/dat")], "/data", None, id="a name that only begins alike"),
        pytest.param([bind("/s", "/data"), bind("", "/data/x")], "/data/x", None, id="memory over a folder"),
        pytest.param([{"Type": "tmpfs"}], "/data", None, id="a mount without names"),
        pytest.param([], "/data", None, id="no mounts"),
    ],
)
def test_a_mount_translates_a_path(mounts: list[dict[str, str]], folder: str, expected: str | None) -> None:
    """Source of the innermost mount around it, and the rest of the path."""
    assert (Path(expected) if expected else None) == source_of(Path(folder), mounts)


class Root:
    """What a process sees of its own container, laid out under ``path``."""

    def __init__(self, path: Path, cgroup: str, mountinfo: str, sign: str = "") -> None:
        self.path = path
        (path / "proc" / "self").mkdir(parents=True)
        (path / "proc/self/cgroup").write_text(cgroup)
        (path / "proc/self/mountinfo").write_text(mountinfo)
        if sign:
            (path / sign).parent.mkdir(exist_ok=True)
            (path / sign).touch()


class Engine:
    """Knows these containers, and remembers whom it was asked for."""

    def __init__(self, *containers: Mapping[str, Any]) -> None:
        self.containers = {str(container["Id"]): container for container in containers}
        self.asked: list[str] = []

    def inspect(self, name: str) -> Mapping[str, Any] | None:
        self.asked.append(name)
        return next((c for i, c in self.containers.items() if i.startswith(name) or c["Name"] == name), None)


def container(*mounts: Mapping[str, str], of: str = OWN, name: str = "/worker") -> dict[str, Any]:
    return {"Id": of, "Name": name, "Mounts": list(mounts)}


def found(root: Root, engine: Engine, base: str = "/data", given: Path | None = None) -> HostName:
    return HostFolder(Path(base), given, engine.inspect, root=root.path).name()


def test_a_worker_in_a_container_finds_its_folder(tmp_path: Path) -> None:
    """The engine is asked once for the container that this is, and its mount translates every path."""
    engine, told = Engine(container(bind("/srv/two words", "/data"))), list[HostName]()
    root = Root(tmp_path, V2_PRIVATE, DOCKER_MOUNTS, ".dockerenv")
    folder = HostFolder(Path("/data"), None, engine.inspect, told.append, root.path)

    seen = [folder(Path("/data/jobs/7")), folder(Path("/data"))]

    assert seen == [Path("/srv/two words/jobs/7"), Path("/srv/two words")]
    assert (engine.asked, told) == ([OWN], [HostName(seen[1], f"the mounts of container {OWN[:12]}")])


def test_the_variable_wins(tmp_path: Path) -> None:
    """PATH_HOST_BASE is believed; nobody is asked."""
    engine = Engine(container(bind("/srv/jobs", "/data")))

    name = found(Root(tmp_path, V1, DOCKER_MOUNTS), engine, given=Path("/mine"))

    assert (name, engine.asked) == (HostName(Path("/mine"), "PATH_HOST_BASE"), [])


def test_outside_of_containers_nobody_is_asked(tmp_path: Path) -> None:
    """The engine sees the folder under the same name, and there is no doubt about it."""
    engine = Engine()

    name = found(Root(tmp_path, HOST, HOST_MOUNTS), engine)

    assert (name, engine.asked) == (HostName(Path("/data"), "PATH_BASE"), [])


def test_a_container_that_the_engine_does_not_know_is_doubted(tmp_path: Path) -> None:
    """An engine elsewhere, or one within this container: the folder's own name, and what to do."""
    name = found(Root(tmp_path, V1, DOCKER_MOUNTS, ".dockerenv"), Engine())

    assert name.folder == Path("/data")
    assert "the Docker engine does not know" in name.doubt
    assert name.mend.startswith("Set PATH_HOST_BASE to the name that /data has")


def test_a_folder_that_is_not_mounted_is_doubted(tmp_path: Path) -> None:
    """It would be lost with the container; the command that mounts one is told."""
    name = found(Root(tmp_path, V1, DOCKER_MOUNTS), Engine(container(bind("/x", "/other"))))

    assert (name.folder, "is no mounted folder" in name.doubt) == (Path("/data"), True)
    assert "-v /srv/jobfetcher:/data" in name.mend


def test_another_containers_mounts_are_not_taken(tmp_path: Path) -> None:
    """With a network shared, the engine's files name the other container: what it mounts is not here."""
    sidecar = container(bind("/srv/vpn", "/data"))
    root = Root(tmp_path, V2_PRIVATE, DOCKER_MOUNTS.replace(" /data ", " /elsewhere "), ".dockerenv")

    assert "is no mounted folder" in found(root, Engine(sidecar)).doubt


def test_a_container_named_like_an_id_is_not_taken(tmp_path: Path) -> None:
    """What the engine finds must have that id, not that name."""
    impostor = container(bind("/srv/other", "/data"), of=OUTER, name=OWN)

    assert found(Root(tmp_path, V1, DOCKER_MOUNTS), Engine(impostor)).doubt


def test_an_engine_that_stumbles_over_the_question_does_not_know(tmp_path: Path) -> None:
    """A refusal is an answer; no answer at all is a reason to wait, and the next call asks again."""
    refused = Paused("The Docker engine has trouble")
    refused.__cause__ = Refused("no such thing", 500)
    answers = [Paused("away"), refused]

    def inspect(name: str) -> Mapping[str, Any] | None:
        raise answers.pop(0) if len(answers) > 1 else answers[0]

    folder = HostFolder(Path("/data"), None, inspect, root=Root(tmp_path, V1, DOCKER_MOUNTS).path)
    with pytest.raises(Paused):
        folder.name()

    assert "does not know" in folder.name().doubt


@pytest.mark.parametrize(("sign"), [".dockerenv", "run/.containerenv"])
def test_the_host_name_is_the_last_resort(tmp_path: Path, sign: str) -> None:
    """Docker's own choice of one is the short id; a name that somebody gave is none."""
    root = Root(tmp_path, V2_PRIVATE, HOST_MOUNTS, sign).path

    assert is_container(root)
    assert own_ids(root, lambda: OWN[:12]) == [OWN[:12]]
    assert own_ids(root, lambda: "workstation") == []
