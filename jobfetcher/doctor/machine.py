"""Checks of this machine: the worker's folder, its disk, its lock, its database, its GPUs."""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from jobfetcher import lock
from jobfetcher.doctor.check import Check, failed, ok, skipped, warning
from jobfetcher.hardware import Gpu, complaints
from jobfetcher.status.health import FULL
from jobfetcher.units import MIB
from persistence import upkeep
from persistence.errors import StoreMissing, StoreUnavailable, StoreUnusable
from persistence.path import path_of

FEW_INODES = 10_000
"""A job may bring thousands of files."""
NVIDIA = "0x10de"
"""NVIDIA's number as a maker of PCI devices."""
PCI = Path("/sys/bus/pci/devices")
DRIVER = Path("/proc/driver/nvidia/version")
"""Is there while the kernel has NVIDIA's driver loaded, in containers too."""
NOT_SHOWN = (
    "In a container: start it with --gpus all. Elsewhere: install the driver's library "
    "(libnvidia-ml.so.1), and let this account use /dev/nvidia*."
)


def check_folder(folder: Path) -> Check:
    """The worker's folder is there, or can be made, and takes files."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        return failed(
            "folder",
            f"{folder} cannot be used ({_reason(error)})",
            "Make that folder writable for this account, or set PATH_BASE to one that is.",
        )
    return ok("folder", f"{folder} is writable")


def check_disk(folder: Path, least: int, statvfs: Callable[[Path], os.statvfs_result] = os.statvfs) -> Check:
    """``least`` bytes are free where the folder lies, and there is room for many files."""
    free, found = shutil.disk_usage(folder).free, statvfs(folder)
    seen = f"{free // MIB} MiB free"
    # File systems that make inodes as they need them count none.
    seen += f", room for {found.f_favail} more files" if found.f_files else ""
    if free < FULL:
        return failed("disk", f"the disk is full: {seen}", f"Free some space in {folder}.")
    if free < least:
        mend = f"Free some space in {folder}: {least // MIB} MiB must stay free (MIN_FREE_DISK)."
        return failed("disk", seen, mend)
    if found.f_files and found.f_favail < FEW_INODES:
        act = failed if found.f_favail == 0 else warning
        return act("disk", seen, "Remove small files from that disk: it is running out of room for files.")
    return ok("disk", seen)


def check_lock(folder: Path) -> Check:
    """Whether a worker uses the folder, and which. Both are fine."""
    try:
        worker = lock.look(folder)
    except FileNotFoundError:
        return ok("lock", "no worker has run here yet")
    except lock.NoLocks as error:
        seen = f"the folder's file system has no working locks ({_reason(error)})"
        return failed("lock", seen, "Choose a PATH_BASE on a local disk.")
    except OSError as error:
        return failed(
            "lock",
            f"{folder / lock.LOCK} cannot be read ({_reason(error)})",
            "Run the worker and this command as the same account.",
        )
    return ok("lock", f"a worker is running (process {worker.pid})" if worker else "no worker is running")


def check_database(url: str) -> Check:
    """The database is whole, and of a schema that this version reads."""
    path = path_of(url)
    if path is None:
        return failed(
            "database",
            "DATABASE_URL names no SQLite file",
            "Write DATABASE_URL as sqlite:////folder/file.db, or leave it out.",
        )
    try:
        health = upkeep.check(path)
    except StoreMissing:
        return ok("database", f"none yet; the worker makes {path} at its first start")
    except (StoreUnusable, StoreUnavailable, OSError) as error:
        seen, _, mend = str(error).partition("; ")
        return failed("database", seen, f"{mend[:1].upper()}{mend[1:]}" if mend else "See to that file.")
    if health.is_older:
        return ok("database", f"whole, of an older version ({health.revision}); the next start upgrades it")
    return ok("database", f"whole, {health.jobs} jobs")


def check_gpus(find: Callable[[], tuple[Gpu, ...]], pci: Path = PCI, driver: Path = DRIVER) -> Check:
    """The GPUs that the driver shows; one that is built in and not shown is a fault."""
    with complaints() as said:
        found = find()
    shown = ", ".join(f"{gpu.model} ({gpu.memory} MiB)" for gpu in found)
    if said:
        seen = f"{shown or 'none works'}; {'; '.join(said)}"
        mend = "Restart the worker's container or the machine; else install the NVIDIA driver anew."
        return failed("GPU", seen, mend)
    if not found and _has_nvidia(pci):
        if driver.exists():
            return failed("GPU", "one is built in and its driver runs, but it is not shown here", NOT_SHOWN)
        return failed("GPU", "one is built in, but its driver does not run", "Install the NVIDIA driver.")
    return ok("GPU", shown or "none; jobs that need one go to other machines")


def check_quickly(folder: Path, least: int) -> list[Check]:
    """The checks that take no time and ask nobody."""
    usable = check_folder(folder)
    return [usable, check_disk(folder, least) if not usable.mend else skipped("disk", "there is no folder")]


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def _has_nvidia(pci: Path) -> bool:
    for vendor in pci.glob("*/vendor"):
        kind = vendor.parent / "class"
        if vendor.read_text().strip() == NVIDIA and kind.read_text().startswith("0x03"):
            return True
    return False
