"""The plots of docs/theory-study.md, as SVG files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
matplotlib.rcParams.update(
    {"svg.hashsalt": "crossdistill", "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 10,
     "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": "#9fb0bd", "axes.titlelocation": "left",
     "axes.titlesize": 11, "axes.grid": True, "grid.color": "#e6eaee", "axes.axisbelow": True}
)  # fmt: skip
from matplotlib import pyplot as plt  # noqa: E402

FOLDER = Path("docs/figures")
COLOURS = ["#0b6e8a", "#c8741a", "#7a4fa3", "#3c8d40", "#b3364a", "#84662d", "#3b6fc4", "#5c6670"]
MARKS = ["o", "s", "^", "D", "v", "P", "X", "*"]


def save(figure: Any, name: str) -> Path:
    """Writes a figure; the same numbers give the same bytes."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / f"{name}.svg"
    figure.savefig(path, metadata={"Date": None}, bbox_inches="tight")
    plt.close(figure)
    return path


def scatter(
    panels: Sequence[tuple[str, Sequence[float], Sequence[float], Sequence[str]]], across: str, up: str, name: str,
    columns: int = 3, *, diagonal: bool = False,
) -> Path:  # fmt: skip
    """Panels ``(title, x, y, kind of each point)`` side by side, one legend for the kinds."""
    rows = -(-len(panels) // columns)
    width = min(columns, len(panels))
    figure, axes = plt.subplots(rows, width, figsize=(3.7 * width, 3.1 * rows), squeeze=False)
    kinds = list(dict.fromkeys(kind for panel in panels for kind in panel[3]))
    for axis, (title, x, y, which) in zip(axes.flat, panels, strict=False):
        for number, kind in enumerate(kinds):
            chosen = [place for place, each in enumerate(which) if each == kind]
            if chosen:
                axis.scatter([x[each] for each in chosen], [y[each] for each in chosen], s=26, alpha=0.8,
                             color=COLOURS[number % len(COLOURS)], marker=MARKS[number % len(MARKS)], label=kind,
                             linewidths=0)  # fmt: skip
        if diagonal:
            ends = [min([*x, *y]), max([*x, *y])]
            axis.plot(ends, ends, color="#9fb0bd", linewidth=1, linestyle="--")
        axis.set_title(title)
        axis.set_xlabel(across)
        axis.set_ylabel(up)
    for axis in list(axes.flat)[len(panels) :]:
        axis.set_visible(False)
    if len(kinds) > 1:
        handles = {
            label: handle for axis in axes.flat for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)
        }
        figure.legend(handles.values(), handles.keys(), loc="upper center", ncols=min(8, len(kinds)), frameon=False,
                      bbox_to_anchor=(0.5, 0.0))  # fmt: skip
    figure.tight_layout()
    return save(figure, name)


def forecasts(panels: Sequence[tuple[str, list[dict[str, Any]]]], name: str) -> Path:
    """Forecast against realised gain, with the forecast's interval."""
    figure, axes = plt.subplots(1, len(panels), figsize=(5.2 * len(panels), 4.4), squeeze=False)
    kinds = sorted({each["family"] for _, lines in panels for each in lines})
    for axis, (title, lines) in zip(axes.flat, panels, strict=True):
        for number, kind in enumerate(kinds):
            chosen = [each for each in lines if each["family"] == kind]
            x = [100 * each["gain"] for each in chosen]
            y = [100 * each["forecast"] for each in chosen]
            off = [[100 * (each["forecast"] - each["low"]) for each in chosen],
                   [100 * (each["high"] - each["forecast"]) for each in chosen]]  # fmt: skip
            axis.errorbar(x, y, yerr=off, fmt=MARKS[number % len(MARKS)], color=COLOURS[number % len(COLOURS)],
                          markersize=5, elinewidth=0.5, alpha=0.75, label=kind)  # fmt: skip
        ends = [min(100 * each["gain"] for each in lines) - 2, max(100 * each["gain"] for each in lines) + 2]
        axis.plot(ends, ends, color="#9fb0bd", linewidth=1, linestyle="--")
        axis.set_title(title)
        axis.set_xlabel("realised gain, points")
        axis.set_ylabel("forecast, 90% interval")
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper center", ncols=len(kinds), frameon=False, bbox_to_anchor=(0.5, 0.0))
    figure.tight_layout()
    return save(figure, name)
