"""What the worker is doing, in a file for other processes: ``<PATH_BASE>/worker-status.json``.

Looking must stay light, so this needs the standard library only. See ``jobfetcher.live`` for what is in it.
"""

import json
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

NAME = "worker-status.json"
STALE_SECONDS = 30.0
"""The worker writes at least every 10 s: what is older was left by one that died, unless it is alive."""


def write(path_base: Path, status: dict[str, Any]) -> None:
    """Put the file there in one piece; only this account may read it. Raises ``OSError``."""
    draft = path_base / f"{NAME}.new"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    with os.fdopen(os.open(draft, flags, 0o600), "w", encoding="utf-8") as file:
        file.write(json.dumps(status))
    draft.replace(path_base / NAME)


def remove(path_base: Path) -> None:
    """No worker is at work any more."""
    with suppress(OSError):
        (path_base / NAME).unlink(missing_ok=True)


def read(path_base: Path) -> dict[str, Any] | None:
    """What the worker of ``path_base`` wrote last; None if there is nothing, or it died since."""
    try:
        status = json.loads((path_base / NAME).read_bytes())
        fresh = time.time() - status["at"] <= STALE_SECONDS or _alive(status["pid"])
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return status if fresh else None


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True
