"""The machine as SVG, from its own table. The page's script moves the jobs in it.

Everything the script and the style need is in classes and ``data-`` attributes.
"""

from collections.abc import Iterator
from html import escape

from jobfetcher.status.layout import Arrow, Box, Layout, is_end, tall, wide
from states.table import TABLE


def both() -> str:
    """The wide drawing and the tall one; the style shows one of them."""
    return "\n".join(svg(layout) for layout in (wide(), tall()))


def svg(layout: Layout) -> str:
    """One drawing."""
    parts = [
        f'<svg class="machine {layout.name}" viewBox="0 0 {layout.width:g} {layout.height:g}" role="group" '
        'aria-label="The states of a job, with the jobs in them">',
        _arrow_heads(layout.name),
        *(line for arrow in layout.arrows for line in _arrow(arrow, layout.name)),
        *(line for box in layout.boxes for line in _box(box)),
        '<g class="pills"></g>',
        "</svg>",
    ]
    return "\n".join(parts)


def _arrow_heads(name: str) -> str:
    heads = (
        f'<marker id="{name}-{kind}" class="head {kind}" viewBox="0 0 8 8" refX="1" refY="4" '
        'markerWidth="8" markerHeight="8" markerUnits="userSpaceOnUse" orient="auto">'
        '<path d="M0 0 L8 4 L0 8 Z"/></marker>'
        for kind in ("onward", "back", "aside")
    )
    return f"<defs>{''.join(heads)}</defs>"


def _arrow(arrow: Arrow, name: str) -> Iterator[str]:
    title = f"{arrow.source} → {arrow.target}: {arrow.meaning}"
    yield (
        f'<path class="arrow {arrow.kind} to-{arrow.target}" d="{arrow.path}" '
        f'marker-end="url(#{name}-{arrow.kind})"><title>{escape(title)}</title></path>'
    )
    if arrow.label:
        x, y = arrow.at
        yield f'<text class="trigger {arrow.kind}" x="{x:g}" y="{y:g}">{escape(arrow.label)}</text>'


def _box(box: Box) -> Iterator[str]:
    told = TABLE[box.state].tells
    hears = f"API: {told}" if told else "API: nothing"
    kind = "end" if is_end(box.state) else "live"
    yield (
        f'<g class="state {kind} {box.state}" data-state="{box.state}" data-x="{box.x:g}" '
        f'data-y="{box.y:g}" data-width="{box.width:g}" data-height="{box.height:g}" data-kind="{kind}">'
    )
    yield f'<rect x="{box.x:g}" y="{box.y:g}" width="{box.width:g}" height="{box.height:g}" rx="12"/>'
    yield f'<text class="name" x="{box.x + 12:g}" y="{box.y + 23:g}">{box.state}</text>'
    yield f'<text class="count" x="{box.right - 12:g}" y="{box.y + 23:g}">0</text>'
    yield f'<text class="tells" x="{box.x + 12:g}" y="{box.bottom - 9:g}">{escape(hears)}</text>'
    yield "</g>"
