"""Points in time as people write them."""

import re
import time
from datetime import datetime

from jobfetcher.cli.look import Unanswerable

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])")


def ago(text: str, now: float | None = None) -> float:
    """Seconds since the epoch of ``2h`` (two hours ago), or of a date or time (local) in ISO format.

    Raises ``Unanswerable``.
    """
    if found := _SPAN.fullmatch(text.strip().lower()):
        return (time.time() if now is None else now) - float(found[1]) * _UNITS[found[2]]
    try:
        return datetime.fromisoformat(text.strip()).astimezone().timestamp()
    except (ValueError, OverflowError):
        raise Unanswerable(
            f"{text!r} is no time; write 90s, 30m, 2h, 3d, or a date like 2026-01-31 or 2026-01-31T14:00.", 2
        ) from None
