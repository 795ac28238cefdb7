"""A file system without locks: a library that makes ``flock`` fail in a process that is started with it."""

import subprocess
from pathlib import Path

SOURCE = """
#include <errno.h>
int flock(int fd, int operation) { (void)fd; (void)operation; errno = ENOLCK; return -1; }
"""


def environ(folder: Path) -> dict[str, str]:
    """Build it in ``folder``; the variables that a process takes to get it."""
    source, library = folder / "lockless.c", folder / "lockless.so"
    source.write_text(SOURCE)
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    return {"LD_PRELOAD": str(library)}
