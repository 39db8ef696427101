"""The plots of docs/study.md, as SVG files: leads of the default, and curves over the axes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.study.tasks import AXIS_METRICS, DEFAULT, HEADLINES
from benchmarks.theory.figures import COLOURS, MARKS, plt, save
from crossdistill.report.metric_names import label_of

# What stands below the values of an axis, where its name is not enough.
SAID = {
    "pairs": "share of the training pairs that are known", "weight": "weight of CMD beside CMC",
    "negatives": "pairs in a batch", "sources": "share of the sources that stage 1 has",
}  # fmt: skip


def draw(results: dict[str, dict[str, Any]], axes: dict[str, dict[str, Any]]) -> list[Path]:
    """All plots that there are results for."""
    found = [lead(results, metric) for metric in HEADLINES if results]
    return [*found, *(curve(each) for each in axes.values())]


def lead(results: dict[str, dict[str, Any]], metric: str) -> Path:
    """The default minus every other method, one panel a task; filled where it is decided."""
    tasks = {task: next(each for each in found["metrics"] if each["name"] == metric) for task, found in results.items()
             if any(each["name"] == metric for each in found["metrics"])}  # fmt: skip
    mean: dict[str, list[float]] = {}
    for each in tasks.values():
        for other in each["against"]:
            mean.setdefault(other["second"], []).append(other["difference"]["value"])
    order = sorted(mean, key=lambda name: -sum(mean[name]) / len(mean[name]))
    figure, panels = plt.subplots(1, len(tasks), figsize=(1.6 + 2.6 * len(tasks), 0.8 + 0.24 * len(order)),
                                  squeeze=False, sharey=True)  # fmt: skip
    for panel, (task, each) in zip(panels.flat, tasks.items(), strict=True):
        for other in each["against"]:
            value, low, high = (100 * other["difference"][end] for end in ("value", "low", "high"))
            colour = "#9fb0bd" if not other["decided"] else COLOURS[0] if value > 0 else COLOURS[4]
            place = order.index(other["second"])
            panel.plot([low, high], [place, place], color=colour, linewidth=1.6)
            panel.plot([value], [place], "o", markersize=5, color=colour,
                       markerfacecolor=colour if other["decided"] else "white")  # fmt: skip
        panel.axvline(0, color="#334250", linewidth=1)
        panel.set_title(task)
        panel.set_xlabel("points")
    panels.flat[0].set_yticks(range(len(order)), order)
    figure.suptitle(f"{DEFAULT} minus each method, {label_of(metric)}; 95% intervals, filled where decided", x=0.01,
                    ha="left", fontsize=11)  # fmt: skip
    figure.tight_layout()
    return save(figure, f"study-lead-{'few-shot' if metric.startswith('linear') else 'retrieval'}")


def curve(found: dict[str, Any]) -> Path:
    """An axis: one panel a metric, one line a method, or a row a value where values have no order of their own.

    Where there is one value alone: accuracy over labels.
    """
    if len(found["values"]) == 1:
        return _label_curve(found)
    return _along(found) if ordered(found["values"]) else _beside(found)


def ordered(labels: Iterable[str]) -> bool:
    """Whether values are numbers, or shares, and so a line between them means something."""
    return all(re.fullmatch(r"[\d.]+%?", label) for label in labels)


def _along(found: dict[str, Any]) -> Path:
    figure, panels = plt.subplots(1, len(AXIS_METRICS), figsize=(3.7 * len(AXIS_METRICS), 3.2), squeeze=False)
    labels = list(found["values"])
    for panel, metric in zip(panels.flat, AXIS_METRICS, strict=True):
        for number, method in enumerate(found["methods"]):
            values = [found["values"][label]["metrics"].get(metric, {}).get(method) for label in labels]
            _line(panel, [(place, each) for place, each in enumerate(values) if each], number, method)
        panel.set_xticks(range(len(labels)), labels)
        panel.set_title(f"{label_of(metric)}, percent")
        panel.set_xlabel(SAID.get(found["axis"], found["axis"]))
    _finish(figure, panels)
    return save(figure, f"study-axis-{found['axis']}")


def _beside(found: dict[str, Any]) -> Path:
    labels, methods = list(found["values"]), list(found["methods"])
    figure, panels = plt.subplots(
        1, len(AXIS_METRICS), figsize=(3.1 * len(AXIS_METRICS) + 1.8, 1.2 + 0.42 * len(labels)), squeeze=False,
        sharey=True,
    )  # fmt: skip
    for panel, metric in zip(panels.flat, AXIS_METRICS, strict=True):
        for number, method in enumerate(methods):
            off = 0.16 * (number - (len(methods) - 1) / 2)
            points = [(place + off, each) for place, label in enumerate(labels)
                      if (each := found["values"][label]["metrics"].get(metric, {}).get(method))]  # fmt: skip
            if points:
                values = [100 * each["value"] for _, each in points]
                panel.errorbar(values, [place for place, _ in points], xerr=_ends([each for _, each in points]),
                               fmt=MARKS[number % len(MARKS)], color=COLOURS[number % len(COLOURS)], markersize=5,
                               capsize=2, linewidth=1.4, label=method)  # fmt: skip
        panel.set_title(f"{label_of(metric)}, percent")
        panel.set_yticks(range(len(labels)), labels)
    panels.flat[0].invert_yaxis()
    _finish(figure, panels)
    return save(figure, f"study-axis-{found['axis']}")


def _finish(figure: Any, panels: Any) -> None:
    """One legend for all panels, below them."""
    handles = {label: handle for panel in panels.flat
               for handle, label in zip(*panel.get_legend_handles_labels(), strict=True)}  # fmt: skip
    figure.tight_layout()
    figure.legend(handles.values(), handles.keys(), loc="upper center", bbox_to_anchor=(0.5, 0.0), frameon=False,
                  ncols=len(handles), fontsize=9)  # fmt: skip


def _label_curve(found: dict[str, Any]) -> Path:
    metrics = next(iter(found["values"].values()))["metrics"]
    shots = sorted(int(name.split("_")[1]) for name in metrics if name.startswith("linear_") and name.endswith("_shot"))
    figure, panels = plt.subplots(1, 2, figsize=(8.8, 3.3), sharey=True)
    ticks = ["none", *map(str, shots), "all"]
    for panel, base, title in (
        (panels[0], "linear", "with labels of the target"),
        (panels[1], "both", "with all labels of the source as well"),
    ):
        names = ["zero_shot" if base == "both" else "", *(f"{base}_{shot}_shot" for shot in shots), base]
        for number, method in enumerate(found["methods"]):
            points = [(place, metrics.get(name, {}).get(method)) for place, name in enumerate(names)]
            _line(panel, [(place, each) for place, each in points if each], number, method)
        panel.set_xticks(range(len(ticks)), ticks)
        panel.set_xlim(-0.5, len(ticks) - 0.5)
        panel.set_title(f"{title}, percent")
        panel.set_xlabel("labels a class of the target")
    _finish(figure, panels)
    return save(figure, f"study-axis-{found['axis']}")


def _line(panel: Any, points: list[tuple[int, dict[str, float]]], number: int, label: str) -> None:
    if not points:
        return
    places = [place + 0.06 * (number - 1) for place, _ in points]  # so that intervals stand beside each other
    values = [100 * each["value"] for _, each in points]
    panel.errorbar(places, values, yerr=_ends([each for _, each in points]), color=COLOURS[number % len(COLOURS)],
                   marker=MARKS[number % len(MARKS)], markersize=5, capsize=2, linewidth=1.4, label=label)  # fmt: skip


def _ends(values: list[dict[str, float]]) -> list[list[float]]:
    """What an interval has below and above its value, in percent."""
    return [[100 * max(0.0, each["value"] - each["low"]) for each in values],
            [100 * max(0.0, each["high"] - each["value"]) for each in values]]  # fmt: skip
