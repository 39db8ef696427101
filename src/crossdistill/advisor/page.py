"""``advice.html``: one self-contained file in the look of a run's report."""

from __future__ import annotations

import math
from importlib.metadata import version
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from crossdistill.advisor.advice import Advice
from crossdistill.advisor.evidence import DEFAULT, TaskEvidence
from crossdistill.files import write_text
from crossdistill.report.figures import ACCENT, FAINT, SERIES, styled
from crossdistill.report.render import figure_markup, plotly_library, templates

_BAND = "rgba(11,110,138,.14)"
WORDS = {
    "retrieval_auc": ("partner fits better than another", "linear prediction, 50% is chance"),
    "retrieval_r1": ("nearest source is the partner", "linear prediction, falls with the number of items"),
    "ridge_r2": ("variance of the teacher predicted", "linear, on held-out groups"),
    "cca": ("canonical correlation", "on held-out groups"),
    "linear_cka": ("linear CKA", "0: unrelated, 1: the same up to rotation"),
    "rbf_cka": ("kernel CKA", "likewise, by neighbourhoods"),
    "mutual_neighbours": ("neighbours in common", "share of the nearest items that both sides agree on"),
    "total_variation": ("total variation, lower bound", "that a classifier finds, certified; 1: disjoint"),
    "a_distance": ("proxy A-distance", "0: alike, 2: told apart without error"),
    "mmd": ("maximum mean discrepancy", "squared, Gaussian kernel"),
    "sliced_wasserstein": ("sliced Wasserstein distance", "in units of the vectors"),
    "sinkhorn": ("Sinkhorn divergence", "in units of the vectors"),
    "modality_gap": ("modality gap", "distance of the mean directions"),
    "effective_rank_source": ("dimensions that sources fill", "effective rank"),
    "effective_rank_target": ("dimensions that targets fill", "effective rank"),
}
"""Distances that are shown, in this order, and what they mean."""


def write_page(advice: Advice, path: Path) -> None:
    """Writes the page."""
    task = advice.evidence.task
    figures = [] if task is None or advice.curve is None else [learning_curve(advice, task), gains(advice)]
    page = (
        templates("crossdistill.advisor", "crossdistill.report")
        .get_template("advice.html.j2")
        .render(
            advice=advice,
            evidence=advice.evidence,
            task=task,
            figures=[figure_markup(figure) for figure in figures],
            distances=[
                (*WORDS[name], found) for name in WORDS if (found := advice.evidence.distances.get(name)) is not None
            ],
            objectives=_objectives(advice),
            accuracies=[] if task is None else _accuracies(task),
            plotly_js=plotly_library(),
            version=version("crossdistill"),
        )
    )
    write_text(path, page)


def learning_curve(advice: Advice, task: TaskEvidence) -> go.Figure:
    """Few-shot accuracy over the number of pairs: pilots, the fitted curve with its 90% band, and what frames it."""
    assert advice.curve is not None
    points = advice.points()
    spreads = [advice.curve.at(each) for each in points]
    figure = go.Figure()
    figure.add_scatter(x=points + points[::-1], y=[100 * each.high for each in spreads] +
                       [100 * each.low for each in spreads][::-1], fill="toself", fillcolor=_BAND, line={"width": 0},
                       hoverinfo="skip", showlegend=False)  # fmt: skip
    figure.add_scatter(x=points, y=[100 * each.value for each in spreads], mode="lines", name="fitted curve",
                       line={"color": ACCENT, "width": 3})  # fmt: skip
    pilots = [each for each in task.pilots if each.objective == DEFAULT]
    for name, found, colour, symbol in (("pilots", pilots, ACCENT, "circle"),
                                        ("linear students", task.linear, SERIES[2], "diamond-open")):  # fmt: skip
        figure.add_scatter(x=[each.pairs for each in found], y=[100 * each.accuracy for each in found], mode="markers",
                           name=name, marker={"color": colour, "size": 9, "symbol": symbol})  # fmt: skip
    for name, value, dash in (("teacher on the source", task.source.value, "dot"), ("labels alone", task.alone.value,
                              "dash")):  # fmt: skip
        figure.add_scatter(x=[points[0], points[-1]], y=[100 * value] * 2, mode="lines", name=name,
                           line={"color": FAINT, "width": 1.6, "dash": dash})  # fmt: skip
    figure.add_vline(x=advice.available, line={"color": SERIES[1], "width": 1.5})
    figure.add_annotation(x=advice.available, y=1, xref="x", yref="paper", text="pairs at hand", showarrow=False,
                          xanchor="left", font={"color": SERIES[1], "size": 12})  # fmt: skip
    figure.layout.annotations[-1].x = math.log10(advice.available)
    styled(figure, 380, showlegend=True)
    figure.update_layout(legend={"orientation": "h", "y": -0.28, "x": 0, "xanchor": "left"}, margin={"t": 14})
    ticks = [step * 10**power for power in range(1, 8) for step in (1, 3)]
    figure.update_xaxes(
        type="log",
        title={"text": "pairs", "font": {"size": 13}},
        tickvals=ticks,
        ticktext=[f"{each:,}" for each in ticks],
    )
    figure.update_yaxes(title={"text": "few-shot accuracy of a pilot, %", "font": {"size": 13}}, rangemode="tozero")
    return figure


def gains(advice: Advice) -> go.Figure:
    """Forecast gain of a full run by number of pairs, with 90% intervals."""
    figure = go.Figure()
    names = [f"{pairs:,}" for pairs in advice.forecasts]
    values = [100 * each.value for each in advice.forecasts.values()]
    figure.add_scatter(
        x=names, y=values, mode="markers", showlegend=False, marker={"size": 12, "color": ACCENT},
        error_y={"type": "data", "symmetric": False, "color": ACCENT, "thickness": 2, "width": 6,
                 "array": [100 * (each.high - each.value) for each in advice.forecasts.values()],
                 "arrayminus": [100 * (each.value - each.low) for each in advice.forecasts.values()]},
    )  # fmt: skip
    figure.add_hline(y=0, line={"color": FAINT, "width": 1.4, "dash": "dash"})
    styled(figure, 380)
    figure.update_layout(margin={"t": 14})
    figure.update_xaxes(title={"text": "pairs", "font": {"size": 13}}, type="category")
    figure.update_yaxes(title={"text": "gain over labels alone, points", "font": {"size": 13}})
    return figure


def _accuracies(task: TaskEvidence) -> list[tuple[str, Any]]:
    rows = [
        ("a probe on an untrained student", task.untrained),
        ("the student trained on the labels alone", task.scratch),
        ("a probe on a distilled pilot", task.distilled),
        ("a probe on the teacher, given pictures of the targets", task.shown),
        ("a probe on the teacher, given the sources", task.source),
    ]
    return [(name, each) for name, each in rows if each is not None]


def _objectives(advice: Advice) -> list[dict[str, Any]]:
    rows = [{"name": DEFAULT, "default": True, "chosen": advice.objective == DEFAULT, "leads": {}}]
    for name, found in advice.evidence.objectives.items():
        rows.append({"name": name, "default": False, "chosen": advice.objective == name, "leads": found})
    return rows
