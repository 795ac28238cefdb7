"""The machine drawn from its own table, as Mermaid or DOT text; with a job's path marked, if given."""

from collections.abc import Sequence

from states.job import JobState
from states.table import TABLE, TERMINAL, Edge

Path = Sequence[tuple[JobState, JobState]]
"""The moves of one job, in order."""


def _label(edge: Edge) -> str:
    name = edge.when.__name__.replace("_", " ") if edge.when else ""
    return f"{edge.trigger} [{name}]" if name else str(edge.trigger)


def _edges() -> list[tuple[JobState, JobState, str]]:
    return [(source, edge.target, _label(edge)) for source, row in TABLE.items() for edge in row.edges]


def mermaid(path: Path = (), current: JobState | None = None) -> str:
    """A Mermaid ``stateDiagram-v2``."""
    lines = ["stateDiagram-v2", f"    [*] --> {JobState.FETCHED}"]
    for source, target, label in _edges():
        walked = [str(number) for number, move in enumerate(path, start=1) if move == (source, target)]
        step = f"{', '.join(walked)}. " if walked else ""
        lines.append(f"    {source} --> {target}: {step}{label}")
    lines += [f"    {state} --> [*]" for state in TABLE if state in TERMINAL]
    if current is not None:
        lines += ["    classDef current fill:#2563eb,color:#fff", f"    class {current} current"]
    return "\n".join(lines) + "\n"


def dot(path: Path = (), current: JobState | None = None) -> str:
    """A Graphviz ``digraph``."""
    lines = ["digraph job {", "    rankdir=LR;", "    node [shape=box, style=rounded];"]
    for state in TABLE:
        shape = ["peripheries=2"] if state in TERMINAL else []
        colour = ['color="#2563eb"', "penwidth=2"] if state is current else []
        attributes = ", ".join([f'label="{state}"', *shape, *colour])
        lines.append(f"    {state} [{attributes}];")
    walked = set(path)
    for source, target, label in _edges():
        bold = ", penwidth=2" if (source, target) in walked else ""
        lines.append(f'    {source} -> {target} [label="{label}"{bold}];')
    return "\n".join([*lines, "}"]) + "\n"


def text(path: Path = (), current: JobState | None = None) -> str:
    """Plain lines for a terminal; ``*`` marks moves that the job made, ``>`` where it is."""
    walked = set(path)
    lines: list[str] = []
    for state, row in TABLE.items():
        tells = f"the API is told {row.tells}" if row.tells else "the API is told nothing"
        lines.append(f"{'>' if state is current else ' '} {state:<12} {tells}")
        for edge in row.edges:
            mark = "*" if (state, edge.target) in walked else " "
            lines.append(f"  {mark}   {_label(edge):<28} -> {edge.target}")
    return "\n".join(lines) + "\n"
