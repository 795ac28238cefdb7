"""Runs one command and outlives the worker: started as a script, with nothing but the standard library.

    python -I -S process_shim.py RUN_DIR

It holds a lock on ``alive`` for its life, so that there is one; it makes ``started`` before the command
runs, so that a run never runs twice; it writes ``exit.json`` when the command has ended. SIGTERM is passed
on to all processes of the command, SIGUSR1 kills them. Whatever the command leaves behind is killed.
"""

import ctypes
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
CANNOT_RUN = 127
ROOM = 4096
"""Bytes set aside for ``exit.json``: the command may fill the disk."""
SIGNALS = {signal.SIGTERM, signal.SIGUSR1}

_libc = ctypes.CDLL(None, use_errno=True)


def main(folder: Path) -> None:
    """Run the command of ``folder`` unless it was ever started."""
    detach()
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # until they can be obeyed
    lock = os.open(folder / "alive", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return
    if (folder / "started").exists():
        return
    _libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    write(folder / "shim.json", about(os.getpid()))
    (folder / "exit.part").write_bytes(b" " * ROOM)
    os.close(os.open(folder / "started", os.O_CREAT | os.O_EXCL, 0o600))
    sync(folder)
    write(folder / "exit.json", run(folder, json.loads((folder / "run.json").read_text())))


def detach() -> None:
    """Leave the worker's session, so that no signal meant for the worker comes here."""
    if os.fork():
        os._exit(0)
    os.setsid()
    if os.fork():
        os._exit(0)


def run(folder: Path, what: dict[str, Any]) -> dict[str, Any]:
    """Run the command to its end and say how it ended."""
    started, reason = time.time(), ""
    with (folder / "output.log").open("ab") as output:
        try:
            child = subprocess.Popen(
                what["argv"],
                env=what["env"],
                cwd=what["cwd"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=prepare_child,  # noqa: PLW1509 # there is one thread
            )
        except (OSError, subprocess.SubprocessError) as error:
            code, reason = CANNOT_RUN, f"The command cannot be started: {error}."
        else:
            write(folder / "child.json", about(child.pid))
            obey(child.pid, what["front"])
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
            status = child.wait()
            code = status if status >= 0 else 128 - status
            end_all()
    return {"code": code, "reason": reason, "started_at": started, "finished_at": time.time()}


def prepare_child() -> None:
    """In the child: die with this process, and hear signals again."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def obey(child: int, front: bool) -> None:
    """Pass signals on. ``front``: the child only stands in front of the command, and must not end first."""

    def terminate(number: int, frame: FrameType | None) -> None:
        send(signal.SIGTERM, spare=child if front else 0)

    def kill(number: int, frame: FrameType | None) -> None:
        send(signal.SIGKILL)

    signal.signal(signal.SIGTERM, terminate)
    signal.signal(signal.SIGUSR1, kill)


def send(number: signal.Signals, spare: int = 0) -> None:
    """Send a signal to all that descends from this process."""
    for pid in descendants(os.getpid()):
        if pid != spare:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue


def end_all() -> None:
    """Kill what is left, until nothing is: orphans come to us, for we are their subreaper."""
    while True:
        send(signal.SIGKILL)
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def descendants(root: int) -> list[int]:
    """All processes below ``root``."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := stat(int(entry.name))):
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found, todo = [], [root]
    while todo:
        below = children.get(todo.pop(), [])
        found += below
        todo += below
    return found


def session(leader: int) -> list[int]:
    """All processes of the session that ``leader`` began."""
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return [pid for pid in pids if (fields := stat(pid)) and int(fields[3]) == leader]


def about(pid: int) -> dict[str, Any]:
    """What identifies a process: its number alone is used again."""
    return {"pid": pid, "start": start_time(pid)}


def start_time(pid: int) -> str:
    """When ``pid`` started, in clock ticks since boot; empty if there is none."""
    fields = stat(pid)
    return fields[19] if fields else ""


def stat(pid: int) -> list[str]:
    """What ``/proc`` says of a process after its name; empty if there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return []
    return text.rpartition(")")[2].split()


def write(path: Path, what: dict[str, Any]) -> None:
    """Write a file so that it is there whole or not at all."""
    part = path.with_suffix(".part")
    with part.open("r+" if part.exists() else "w") as file:  # into the room that was set aside for it
        json.dump(what, file)
        file.truncate()
        file.flush()
        os.fsync(file.fileno())
    part.rename(path)
    sync(path.parent)


def sync(folder: Path) -> None:
    """Make the folder's names durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
