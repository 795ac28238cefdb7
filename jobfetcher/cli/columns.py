"""Tables as plain text, for pipes and files: drawn without a library, nothing cut off."""

from collections.abc import Sequence

GAP = "  "


def aligned(titles: Sequence[str], right: Sequence[bool], rows: Sequence[Sequence[str]]) -> str:
    """The rows under their titles, each column as wide as it must be; ``right``: flush right."""
    lines = [titles, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(GAP.join(map(_cell, line, widths, right)).rstrip() for line in lines)


def _cell(text: str, width: int, right: bool) -> str:
    return text.rjust(width) if right else text.ljust(width)
