"""The overhead of a guarded request by the number of entries, store by store, as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, StrMethodFormatter

from benchmarks.harness import Round
from benchmarks.report import Row, Spread, costs

from .kinds import OURS, THEIRS, Kind
from .report import requests
from .run import Results

_COLOURS = {OURS: "#1a5fb4", THEIRS: "#b35c00"}
_STYLES = {OURS: "-", THEIRS: "--"}
_MARKS = {OURS: "o", THEIRS: "s"}
_LABELS = {OURS: "Flask-AuthX", THEIRS: THEIRS}
#: Where a label stands, in points from the first mark: the cheaper one's below.
_PLACES = {OURS: (0, -14), THEIRS: (0, 7)}
_TEXT, _GRID = "#24292f", "#d8dee4"
#: What is the same makes the same file.
_SETTINGS: Any = {
    "svg.hashsalt": "stores",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": _TEXT,
    "axes.labelcolor": _TEXT,
    "axes.edgecolor": _GRID,
    "xtick.color": _TEXT,
    "ytick.color": _TEXT,
}


def draw(results: Results, file: Path) -> None:
    """Write the picture, as SVG."""
    stores = results.stores
    columns = min(3, len(stores))
    rows = -(-len(stores) // columns)
    # It declares its settings' names one by one, and paths without what they are of.
    untyped: Any = mpl
    with untyped.rc_context(_SETTINGS):
        figure: Any = Figure(figsize=(3.2 * columns, 2.7 * rows + 0.7), layout="constrained")
        grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        panels = [*grid.flat]
        for panel in panels[len(stores) :]:
            panel.set_visible(False)
        for panel, kind in zip(panels, stores, strict=False):
            _panel(panel, results, kind)
        for row in grid:
            row[0].set_ylabel("microseconds")
        figure.supxlabel("live revocations in the store", fontsize=10)
        figure.suptitle("What a guard adds to a request", fontsize=12, fontweight="bold")
        figure.savefig(file, format="svg", facecolor="white", metadata={"Date": None})


def _panel(panel: Any, results: Results, kind: type[Kind]) -> None:
    panel.set_title(kind.name, fontsize=11, loc="left")
    panel.set_xscale("log")
    panel.set_yscale("log")
    panel.grid(color=_GRID, linewidth=0.6, which="major")
    panel.minorticks_off()
    panel.tick_params(length=0)
    panel.spines[["top", "right"]].set_visible(False)
    panel.margins(x=0.06, y=0.15)
    panel.xaxis.set_major_formatter(FuncFormatter(_short))
    panel.yaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    pairs = [*requests(results, kind)]
    sizes = [size for size, _ in pairs]
    panel.set_xticks(sizes)
    rounds = pairs[0][1].rounds
    _curve(panel, OURS, sizes, [one.row for _, one in pairs], rounds)
    if pairs[0][1].against.name in rounds[0]:
        _curve(panel, THEIRS, sizes, [one.against for _, one in pairs], rounds)


def _curve(
    panel: Any, who: str, sizes: Sequence[int], rows: Sequence[Row], rounds: Sequence[Round]
) -> None:
    took: list[Spread] = [costs(row, rounds) for row in rows]
    medians = [_shown(one.median) for one in took]
    colour = _COLOURS[who]
    panel.plot(sizes, medians, _STYLES[who], marker=_MARKS[who], markersize=4, color=colour)
    low, high = [_shown(one.low) for one in took], [_shown(one.high) for one in took]
    panel.fill_between(sizes, low, high, color=colour, alpha=0.15, linewidth=0)
    panel.annotate(
        _LABELS[who],
        (sizes[0], medians[0]),
        xytext=_PLACES[who],
        textcoords="offset points",
        color=colour,
        fontsize=9,
    )


def _shown(microseconds: float) -> float:
    """What a logarithmic axis can show: less than this is noise."""
    return max(microseconds, 1.0)


def _short(number: float, _place: object = None) -> str:
    for unit, name in ((1_000_000, "M"), (1_000, "k")):
        if number >= unit:
            return f"{number / unit:g} {name}"
    return f"{number:g}"
