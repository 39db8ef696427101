"""The report's section on segmentation: masks in colours, classes one by one, and the curve over labelled masks."""

from __future__ import annotations

import re
from typing import Any

import plotly.graph_objects as go

from crossdistill.report.figures import FAINT, ROLE_COLOURS, SERIES, styled
from crossdistill.report.table import label_of

_NAME = re.compile(r"miou_(frozen|tuned)(?:_(\d+)_masks)?")
_DASHES = {"frozen": "solid", "tuned": "dash"}


def section(metrics: dict[str, Any]) -> dict[str, Any] | None:
    """What the template shows; None where segmentation was not measured.

    Args:
        metrics: content of ``metrics.json``.
    """
    found = metrics.get("segmentation")
    if found is None:
        return None
    columns = _columns(metrics)
    return {
        **found,
        "ignored_words": ", ".join(map(str, found["ignored"])) or "none",
        "columns": [{"subject": name, "label": _short(metric), "role": role} for name, metric, role in columns],
        "rows": [
            {**each, "cells": [_cell(found["by_class"][name][metric][place]) for name, metric, _ in columns]}
            for place, each in enumerate(found["classes"])
        ],
        "shown": [
            {"subject": each["subject"], "label": _short(each["metric"])} for each in found["pictures"]["columns"]
        ],
    }


def _columns(metrics: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Subject, metric and role of each column: the results of the most masks, the main student first."""
    found = metrics["segmentation"]["by_class"]
    roles = {outcome["name"]: outcome["role"] for outcome in metrics["outcomes"]}
    every = {name for results in found.values() for name in results}
    most = {
        kind: max((name for name in every if name.startswith(f"miou_{kind}")), key=_count, default=None)
        for kind in _DASHES
    }
    return [
        (subject, metric, roles[subject])
        for metric in most.values()
        if metric is not None
        for subject, results in found.items()
        if metric in results
    ]


def _count(metric: str) -> float:
    """Number of masks behind a result; infinite for all of them."""
    match = _NAME.fullmatch(metric)
    return float(match[2]) if match is not None and match[2] else float("inf")


def _short(metric: str) -> str:
    return label_of(metric).removeprefix("mIoU ")


def _cell(estimate: dict[str, Any] | None) -> dict[str, str]:
    if estimate is None:
        return {"value": "", "interval": ""}
    low, value, high = (f"{100 * estimate[end]:.1f}" for end in ("low", "value", "high"))
    return {"value": value, "interval": f"{low} \N{EN DASH} {high}"}


def curve(metrics: dict[str, Any]) -> go.Figure | None:
    """Mean IoU over the number of labelled masks, with 95% intervals; None with one number alone."""
    found = metrics.get("segmentation")
    if found is None:
        return None
    most = found["masks"]["train"]
    figure, counts, series = go.Figure(), set(), 0
    for outcome in metrics["outcomes"]:
        trained = outcome["role"] != "control"
        for kind, dash in _DASHES.items():
            points = sorted(
                (min(_count(name), most), 100 * each["value"], 100 * each["low"], 100 * each["high"])
                for name, each in outcome["metrics"].items()
                if name.startswith(f"miou_{kind}")
            )
            if not points:
                continue
            counts |= {point[0] for point in points}
            colour = SERIES[series % len(SERIES)] if trained else _CONTROLS.get(outcome["name"], FAINT)
            figure.add_scatter(
                x=[point[0] for point in points], y=[point[1] for point in points], mode="lines+markers",
                name=f"{outcome['name']}, {kind}", line={"color": colour, "width": 2.5, "dash": dash},
                marker={"size": 7},
                error_y={"type": "data", "symmetric": False, "array": [point[3] - point[1] for point in points],
                         "arrayminus": [point[1] - point[2] for point in points], "color": colour, "thickness": 1.2,
                         "width": 4},
            )  # fmt: skip
        series += trained
    if len(counts) < 2:
        return None
    ticks = sorted(counts)
    title = {"text": "mean IoU over the number of labelled masks, %", "x": 0.01, "font": {"size": 14}}
    styled(figure, 380, title=title, showlegend=True)
    figure.update_layout(legend={"orientation": "h", "y": -0.24, "x": 0, "xanchor": "left"}, margin={"t": 40})
    figure.update_xaxes(type="log", tickvals=ticks, ticktext=[f"{tick:g}" for tick in ticks],
                        title={"text": "labelled masks", "font": {"size": 13}})  # fmt: skip
    figure.update_yaxes(rangemode="tozero")
    return figure


_CONTROLS = {"random_student": ROLE_COLOURS["control"], "supervised": "#5c6670", "initial_student": "#b9a44c"}
