"""Short forms for a crowded screen, and harmless text. No colour carries a meaning alone."""

import re
from collections.abc import Iterable

from rich.text import Text

BLOCKS = "▁▂▃▄▅▆▇█"
GIB = 1 << 30


_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
"""What colours a terminal, moves its cursor or names its window."""


def harmless(value: object) -> str:
    """The first line of text from outside, without anything that a terminal would obey."""
    first = next(iter(_SEQUENCE.sub("", str(value)).splitlines()), "").expandtabs()
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in first)


def brief(seconds: float) -> str:
    """``9s``, ``3m20s``, ``2h05m``, ``3d04h``: at most six characters for three years."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02}h"


def ago(at: float | None, now: float) -> str:
    """`` 3s ago``, or nothing."""
    return "" if not at else f" {brief(now - at)} ago"


def bar(share: float | None, width: int) -> Text:
    """How much of the whole; None is not known. Also without colours the rest looks different."""
    full = 0 if share is None else round(max(0.0, min(1.0, share)) * width)
    return Text.assemble(("━" * full, "bold green"), ("┄" * (width - full), "dim"))


def spark(values: Iterable[float], width: int) -> Text:
    """The last ``width`` values (percent), the newest at the right."""
    shown = list(values)[-width:] if width > 0 else []
    drawn = "".join(BLOCKS[min(7, max(0, int(value / 12.5)))] for value in shown)
    return Text.assemble((" " * (width - len(shown)), ""), (drawn, "green"))


def shares(used: float, total: float) -> str:
    """``3.1/23.5 GiB`` of bytes."""
    return f"{used / GIB:.1f}/{total / GIB:.1f} GiB"
