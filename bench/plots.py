"""Pictures for the documentation: the same figures give the same file, to the byte."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.measure import Row
from bench.scenes import TOLERABLE, Trace

_STYLE: dict[Any, Any] = {
    "svg.hashsalt": "jobfetcher",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
}
_GOOD, _BAD, _MARK, _GRID = "#2a7f62", "#c8553d", "#1f2937", "#d7dbe0"
_COLOURS = ("#2a7f62", "#3b6fb6", "#c8553d", "#b08900")


def rows(found: Sequence[Row], path: Path) -> None:
    """One bar for each row that has a ratio: green where the goal is met, with a mark at the goal."""
    shown = [row for row in found if row.ratio is not None and row.goal.endswith(" x")]
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(9.5, 0.8 + 0.27 * len(shown)), layout="constrained")
        axes = figure.add_subplot()
        places = range(len(shown))
        ratios = [row.ratio or 0.0 for row in shown]
        goals = [_limit(row) for row in shown]
        axes.barh(places, ratios, color=[_GOOD if row.met else _BAD for row in shown], height=0.62)
        axes.scatter(goals, places, marker="|", s=130, linewidths=2, color=_MARK, zorder=3, label="goal")
        for place, ratio, row in zip(places, ratios, shown, strict=True):
            end = (max(ratio, _limit(row)), place)
            axes.annotate(_figure(ratio), end, (6, 0), textcoords="offset points", va="center", fontsize=8)
        axes.set_yticks(places, [_with_arrow(row) for row in shown])
        axes.set_ylim(len(shown) - 0.5, -0.5)
        _scale(axes, min(*ratios, *goals, 0.2), max(*ratios, *goals, 1))
        figure.supxlabel("ours / floor; black mark: goal; green: met, red: missed; ≥: more is better", size=9)
        _save(figure, path)


def fleet(outages: Sequence[Trace], starts: Sequence[Trace], path: Path) -> None:
    """Requests a second beside the steady rate: after outages, and after a start of all at once."""
    size = outages[0].workers
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(9.5, 7), layout="constrained")
        above, below = figure.subplots(2)
        shown = [trace for trace in outages if trace.scene.outage >= 600 and not trace.scene.silent]
        for trace, colour in zip(shown, _COLOURS, strict=False):
            back = trace.scene.back
            _rates(above, trace, back - 60, back + 240, -60, colour)
        above.axvspan(-60, 0, color="#eef0f3")
        above.axhline(TOLERABLE, color=_BAD, linestyle="--", linewidth=1, label="goal for the peak")
        above.set_xlabel("seconds after the API came back")
        above.set_title(f"{size:,} workers after an outage", loc="left")
        for trace, colour in zip(starts, _COLOURS, strict=False):
            _rates(below, trace, 0, 90, 0, colour)
        below.set_yscale("symlog", linthresh=2)
        below.set_yticks([0, 1, 2, 5, 10], ["0", "1", "2", "5", "10"])
        below.set_xlabel("seconds after all workers started at the same instant")
        below.set_title("The same workers after a power cut", loc="left")
        for axes in (above, below):
            axes.set_ylabel("requests/s, steady = 1")
            axes.grid(color=_GRID, linewidth=0.6)
            axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1), fontsize=8)
        _save(figure, path)


def _scale(axes: Axes, least: float, most: float) -> None:
    axes.set_xscale("log")
    ticks = [tick for tick in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50) if tick <= 2 * most]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.xaxis.set_minor_locator(ticker.NullLocator())
    axes.set_xlim(least / 1.3, most * 1.6)
    axes.axvline(1, color=_MARK, linewidth=0.8)
    axes.grid(axis="x", color=_GRID, linewidth=0.6)


def _rates(axes: Axes, trace: Trace, begin: float, end: float, shift: float, colour: str) -> None:
    steady = trace.steady
    rates = [rate / steady for rate in trace.rates(begin, end)]
    seconds = [shift + second for second in range(len(rates))]
    axes.plot(seconds, rates, color=colour, linewidth=1.2, label=trace.scene.name)


def _limit(row: Row) -> float:
    return float(row.goal.split()[1])


def _figure(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.0f}"


def _with_arrow(row: Row) -> str:
    name = row.name if len(row.name) <= 84 else f"{row.name[:82]}…"
    return f"≥ {name}" if row.goal.startswith("≥") else name


def _save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})
