"""The report's figures, as plotly specifications that the page draws offline."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go

from crossdistill.report.table import label_of

INK, FAINT, GRID = "#1c2733", "#6b7785", "#e6eaee"
ACCENT = "#0b6e8a"
ROLE_COLOURS = {"objective": ACCENT, "baseline": "#c8741a", "control": "#93a0ad"}
SERIES = ["#0b6e8a", "#c8741a", "#7a4fa3", "#3c8d40", "#b3364a", "#84662d", "#3b6fc4", "#5c6670"]
_UNLABELLED = "#c3cbd3"


def styled(figure: go.Figure, height: int, **options: Any) -> go.Figure:
    """A figure in the look of our pages."""
    figure.update_layout(
        template="none",
        height=height,
        margin={"l": 60, "r": 20, "t": 36, "b": 48},
        font={"family": "Inter, Segoe UI, Helvetica, Arial, sans-serif", "size": 13, "color": INK},
        legend={"orientation": "h", "y": 1.16, "x": 1, "xanchor": "right"},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        hoverlabel={"font": {"family": "inherit"}},
        **options,
    )
    figure.update_xaxes(gridcolor=GRID, zeroline=False, linecolor=GRID, automargin=True)
    figure.update_yaxes(gridcolor=GRID, zeroline=False, linecolor=GRID, automargin=True)
    return figure


def comparison(metrics: dict[str, Any], metric: str) -> go.Figure:
    """One metric of every subject as a dot with its 95% interval."""
    outcomes = [outcome for outcome in metrics["outcomes"] if metric in outcome["metrics"]][::-1]
    figure = go.Figure()
    for outcome in outcomes:
        estimate = outcome["metrics"][metric]
        value = 100 * estimate["value"]
        figure.add_scatter(
            x=[value],
            y=[outcome["name"]],
            mode="markers",
            marker={"size": 12, "color": ROLE_COLOURS[outcome["role"]]},
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [100 * estimate["high"] - value],
                "arrayminus": [value - 100 * estimate["low"]],
                "color": ROLE_COLOURS[outcome["role"]],
                "thickness": 2,
                "width": 5,
            },
            hovertemplate=f"{outcome['description']}<br>%{{x:.1f}} %<extra></extra>",
            showlegend=False,
        )
    styled(figure, 84 + 30 * len(outcomes), title={"text": f"{label_of(metric)}, %", "x": 0.01, "font": {"size": 14}})
    figure.update_xaxes(rangemode="tozero")
    figure.update_yaxes(ticksuffix="  ")
    figure.update_layout(margin={"l": 120, "r": 16, "t": 36, "b": 30})
    return figure


def training_curve(curves: dict[str, list[dict[str, Any]]], key: str, title: str, *, percent: bool) -> go.Figure | None:
    """One quantity of every training over the epochs; None when no training has it."""
    figure = go.Figure()
    chosen = {stage: [line for line in lines if key in line] for stage, lines in curves.items()}
    for index, (stage, lines) in enumerate((stage, lines) for stage, lines in chosen.items() if lines):
        scale = 100 if percent else 1
        figure.add_scatter(
            x=[line["epoch"] for line in lines],
            y=[scale * line[key] for line in lines],
            mode="lines+markers",
            name=stage.removeprefix("distil/"),
            line={"color": SERIES[index % len(SERIES)], "width": 2.5},
            marker={"size": 6},
        )
    if not figure.data:
        return None
    styled(figure, 320, title={"text": title, "x": 0.01, "font": {"size": 14}}, showlegend=True)
    figure.update_xaxes(title={"text": "epoch", "font": {"size": 13}})
    figure.update_yaxes(rangemode="tozero")
    return figure


def theory_distance(curves: dict[str, list[dict[str, Any]]]) -> go.Figure | None:
    """The distance between the modalities over the epochs, solid, and its certificate, dashed, of every training."""
    figure = go.Figure()
    chosen = {stage: [line for line in lines if "theory_tv" in line] for stage, lines in curves.items()}
    for index, (stage, lines) in enumerate((stage, lines) for stage, lines in chosen.items() if lines):
        name = stage.removeprefix("distil/")
        for key, words, dash in (("theory_tv", name, "solid"), ("theory_certificate", f"{name}, certificate", "dash")):
            figure.add_scatter(
                x=[line["epoch"] for line in lines], y=[line[key] for line in lines], name=words, mode="lines+markers",
                line={"color": SERIES[index % len(SERIES)], "width": 2.5, "dash": dash},
                marker={"size": 6 if dash == "solid" else 1},
            )  # fmt: skip
    return _over_epochs(figure, "total variation of the similarity distributions")


def theory_risks(lines: list[dict[str, Any]]) -> go.Figure | None:
    """The soft nearest-neighbour risks of one training over the epochs, their bound, and the error of a probe."""
    figure = go.Figure()
    shown = (
        ("theory_bound", "bound: source risk + TV", SERIES[0], "dash"),
        ("theory_target_risk", "target risk", SERIES[0], "solid"),
        ("theory_source_risk", "source risk", FAINT, "dot"),
        ("theory_probe_error", "error of a linear probe", SERIES[1], "solid"),
    )
    for key, words, colour, dash in shown:
        found = [line for line in lines if key in line]
        if found:
            figure.add_scatter(
                x=[line["epoch"] for line in found], y=[line[key] for line in found], name=words, mode="lines+markers",
                line={"color": colour, "width": 2.5, "dash": dash}, marker={"size": 6 if dash == "solid" else 1},
            )  # fmt: skip
    return _over_epochs(figure, "soft nearest-neighbour risk")


def _over_epochs(figure: go.Figure, title: str) -> go.Figure | None:
    if not figure.data:
        return None
    styled(figure, 340, title={"text": title, "x": 0.01, "font": {"size": 14}}, showlegend=True)
    figure.update_layout(legend={"orientation": "h", "y": -0.3, "x": 0, "xanchor": "left"})
    figure.update_xaxes(title={"text": "epoch", "font": {"size": 13}})
    figure.update_yaxes(rangemode="tozero")
    return figure


def embedding_map(content: dict[str, Any]) -> go.Figure | None:
    """Both modalities in two dimensions: circles for source items, diamonds for target items, colour by class."""
    if not content["points"]:
        return None
    figure = go.Figure()
    classes = [*content["classes"], None]
    for index, name in enumerate(classes):
        for modality, symbol in (("source", "circle"), ("target", "diamond")):
            points = [
                point
                for point in content["points"]
                if point["modality"] == modality
                and (point["label"] == name if name else point["label"] not in classes[:-1])
            ]
            colour = SERIES[index % len(SERIES)] if name else _UNLABELLED
            figure.add_scatter(
                x=[point["x"] for point in points],
                y=[point["y"] for point in points],
                mode="markers",
                name=name or "other",
                legendgroup=name or "other",
                showlegend=modality == "source",
                marker={
                    "symbol": symbol,
                    "size": 9 if name else 6,
                    "color": colour if modality == "source" else "rgba(0,0,0,0)",
                    "line": {"color": colour, "width": 1.8 if modality == "target" else 0},
                },
                customdata=[[modality, point["label"] or "no label", point["pair"]] for point in points],
                hovertemplate="%{customdata[0]} of pair %{customdata[2]}<br>%{customdata[1]}<extra></extra>",
            )
    styled(figure, 560)
    figure.update_layout(
        margin={"l": 10, "r": 10, "t": 10, "b": 10}, legend={"orientation": "v", "y": 1, "x": 1.01, "xanchor": "left"}
    )
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False, scaleanchor="x")
    return figure
