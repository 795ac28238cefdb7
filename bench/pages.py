"""Tables of the documentation that are made, not typed: each stands between two comments of its page."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path


def table(headings: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A table as Markdown."""
    rows = [headings, ("---",) * len(headings), *lines]
    return "".join(f"| {' | '.join(line)} |\n" for line in rows)


def renew(page: Path, name: str, text: str) -> None:
    """Replace what stands between ``<!-- NAME -->`` and ``<!-- end of NAME -->``.

    Raises ``ValueError`` if the page does not have both.
    """
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
    old = page.read_text()
    pattern = re.compile(f"(?<={re.escape(begin)}).*?(?={re.escape(end)})", re.DOTALL)
    if not pattern.search(old):
        raise ValueError(f"{page} has no place for the table: it needs the lines {begin.strip()} and {end}.")
    page.write_text(pattern.sub(lambda _: f"\n{text}\n", old, count=1))
