"""The upper lines of 'top': who the worker is, how its connections are, how busy the machine is."""

from collections import deque
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

from rich.text import Text

from jobfetcher.cli.top.snapshot import Snapshot
from jobfetcher.cli.top.words import GIB, ago, brief, harmless, shares, spark

KEPT = 300
"""Readings that a sparkline can show, at most."""

SILENT_SECONDS = 20.0
"""A worker that is well reports at least every ten."""


def head(shot: Snapshot) -> Text:
    """Two lines, and one for each thing that is wrong."""
    wrong: list[str | None] = [shot.problem]
    if shot.running:
        wrong += [(shot.worker.get(name) or {}).get("error") for name in ("api", "engine")]
    complaints = [Text(harmless(sentence), "bold red") for sentence in wrong if sentence]
    return _lines([_who(shot), _health(shot), *complaints])


def _who(shot: Snapshot) -> Text:
    worker = shot.worker
    line = Text.assemble(("JobFetcher", "bold"), " ", harmless(worker.get("version", "")), "  worker ")
    line.append(harmless(worker.get("worker", "")))
    if not shot.running:
        line.append(" is not running", "bold yellow")
        return line.append(", and takes no jobs until 'resume'" if shot.draining else "", "yellow")
    if not worker:
        return line.append("runs and has not reported yet", "yellow")
    line.append(f"  up {brief(shot.at - worker.get('started_at', shot.at))}  ")
    silent = shot.at - worker.get("at", shot.at)
    if silent > SILENT_SECONDS:
        return line.append(f"has not reported for {brief(silent)}", "bold red")
    if shot.draining:
        return line.append("draining: it takes no new jobs", "bold yellow")
    return line.append("taking jobs", "green")


def _health(shot: Snapshot) -> Text:
    if not shot.running:
        return Text("Below is what its database holds. This view goes on when the worker is back.", "dim")
    api, engine = shot.worker.get("api") or {}, shot.worker.get("engine") or {}
    runner = str(shot.worker.get("runner") or "docker")
    parts = [
        _state("API", api, shot.at),
        _state("Engine", engine, shot.at) if runner == "docker" else Text(f"Runner {harmless(runner)}"),
        Text(f"{len(shot.unsent)} unsent", "bold yellow" if shot.unsent else ""),
        Text(harmless(api.get("url", "")), "dim"),
    ]
    return Text("   ").join(parts)


def _state(name: str, known: Mapping[str, Any], now: float) -> Text:
    verdict = {True: ("ok", "green"), False: ("AWAY", "bold red")}
    word, style = verdict.get(known.get("ok"), ("not asked yet", "dim"))  # type: ignore[arg-type]  # None too
    return Text.assemble(f"{name} ", (word, style), (ago(known.get("at"), now), "dim"))


class Gauges:
    """Remembers the readings that its sparklines show."""

    def __init__(self) -> None:
        self._history: dict[str, deque[float]] = {}

    def add(self, shot: Snapshot) -> None:
        """Remember what is drawn as a curve."""
        machine = shot.machine
        memory = machine.get("memory")
        found = {
            "cpu": machine.get("cpu"),
            "memory": 100 * memory["used"] / memory["total"] if memory else None,
            **{gpu["uuid"]: gpu["busy"] for gpu in machine.get("gpus", ())},
        }
        for name, value in found.items():
            if value is not None:
                self._history.setdefault(name, deque(maxlen=KEPT)).append(value)

    def draw(self, machine: Mapping[str, Any], width: int, lines: int) -> Text:
        """As many gauges side by side as ``width`` has room for, in at most ``lines`` lines."""
        columns = max(1, width // 39)
        each = width // columns
        cells = [self._fit(*cell, each - 2) for cell in self._cells(machine)]
        room = columns * lines
        if len(cells) > room:
            cells[room - 1 :] = [Text(f"and {len(cells) - room + 1} more", "dim")]
        return _lines(Text("  ").join(row) for row in _batched(cells, columns))

    def _cells(self, machine: Mapping[str, Any]) -> Iterable[tuple[str, str, str]]:
        """Title, name of the curve, figures."""
        cpu, memory, disk = (machine.get(name) for name in ("cpu", "memory", "disk"))
        cores = len(machine.get("cpus", ()))
        yield "CPU", "cpu", "-" if cpu is None else f"{cpu:.0f}% of {cores} cores"
        yield "Mem", "memory", shares(memory["used"], memory["total"]) if memory else "-"
        yield "Disk", "", f"{disk['free'] / GIB:.1f} GiB free of {disk['total'] / GIB:.1f}" if disk else "-"
        for number, gpu in enumerate(machine.get("gpus", ())):
            busy = "" if gpu["busy"] is None else f"{gpu['busy']}% "
            warm = "" if gpu["celsius"] is None else f" {gpu['celsius']}°C"
            used = shares(gpu["memory_used"] << 20, gpu["memory"] << 20)
            yield f"GPU{number}", gpu["uuid"], f"{busy}{used}{warm}"

    def _fit(self, title: str, curve: str, figures: str, width: int) -> Text:
        room = width - 6 - len(figures)
        values = self._history.get(curve, ())
        line = Text.assemble((f"{title:<5}", "bold"), spark(values, room) if curve else "", " ", figures)
        line.truncate(width, overflow="ellipsis", pad=True)
        return line


def _batched(cells: Iterable[Text], count: int) -> Iterable[list[Text]]:
    rest = iter(cells)
    while row := list(islice(rest, count)):
        yield row


def _lines(lines: Iterable[Text]) -> Text:
    drawn = Text("\n", no_wrap=True, overflow="ellipsis").join(lines)
    drawn.no_wrap, drawn.overflow = True, "ellipsis"
    return drawn
