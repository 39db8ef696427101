"""A comparison's figures: differences with their intervals, and ranks with bars over methods that do not differ."""

from __future__ import annotations

import plotly.graph_objects as go

from crossdistill.compare.findings import Metric
from crossdistill.report.figures import ACCENT, FAINT, GRID, INK, SERIES, styled
from crossdistill.report.table import label_of

_BEHIND = SERIES[4]


def differences(metric: Metric, reference: str) -> go.Figure:
    """The reference minus each method, in points, with 95% intervals; filled where it is decided."""
    found = sorted(metric.against, key=lambda each: -each.interval.value)[::-1]
    figure = go.Figure()
    for each in found:
        value, low, high = (100 * part for part in (each.interval.value, each.interval.low, each.interval.high))
        colour = FAINT if not each.decided else ACCENT if value > 0 else _BEHIND
        figure.add_scatter(
            x=[value], y=[each.second], mode="markers", showlegend=False,
            marker={"size": 11, "color": colour if each.decided else "#ffffff", "line": {"color": colour, "width": 2}},
            error_x={"type": "data", "symmetric": False, "array": [high - value], "arrayminus": [value - low],
                     "color": colour, "thickness": 2, "width": 5},
            hovertemplate=f"{reference} - {each.second}<br>%{{x:+.1f}} points, p = {each.corrected:.3g}<extra></extra>",
        )  # fmt: skip
    figure.add_vline(x=0, line={"color": INK, "width": 1})
    title = {"text": f"{reference} minus ..., {label_of(metric.name)}, points", "x": 0.01, "font": {"size": 14}}
    styled(figure, 100 + 30 * len(found), title=title)
    figure.update_yaxes(ticksuffix="  ")
    figure.update_layout(margin={"l": 130, "r": 16, "t": 36, "b": 34})
    return figure


def critical_difference(metric: Metric) -> go.Figure:
    """Mean ranks on a line, the best at the left, and bars over methods of which no two differ (Demsar 2006)."""
    order = sorted(metric.ranks, key=lambda name: metric.ranks[name].value)
    count, half = len(order), (len(order) + 1) // 2
    figure = go.Figure()
    figure.add_scatter(x=[1, count], y=[0, 0], mode="lines", line={"color": INK, "width": 1.5}, hoverinfo="skip")
    for tick in range(1, count + 1):
        figure.add_annotation(x=tick, y=0.35, text=str(tick), showarrow=False, font={"size": 12, "color": FAINT})
        figure.add_shape(type="line", x0=tick, x1=tick, y0=0, y1=0.14, line={"color": INK, "width": 1})
    bars = len(metric.alike)
    for number, name in enumerate(order):
        left = number < half
        depth = 0.35 * bars + 0.5 + 0.62 * (number if left else count - 1 - number)
        rank = metric.ranks[name].value
        end = 0.6 if left else count + 0.4
        figure.add_scatter(
            x=[rank, rank, end], y=[0, -depth, -depth], mode="lines", line={"color": FAINT, "width": 1.2},
            hovertemplate=f"{name}: mean rank {rank:.2f}<extra></extra>",
        )  # fmt: skip
        figure.add_annotation(
            x=end, y=-depth, text=f"{name}  {rank:.1f}" if left else f"{rank:.1f}  {name}", showarrow=False,
            xanchor="right" if left else "left", font={"size": 13},
        )  # fmt: skip
    for number, group in enumerate(metric.alike):
        ends = [metric.ranks[name].value for name in group]
        height = -0.3 - 0.33 * number
        figure.add_scatter(
            x=[min(ends) - 0.06, max(ends) + 0.06], y=[height, height], mode="lines",
            line={"color": ACCENT, "width": 6}, hovertemplate="not told apart: " + ", ".join(group) + "<extra></extra>",
        )  # fmt: skip
    title = {"text": f"{label_of(metric.name)}: mean rank, 1 is best", "x": 0.01, "font": {"size": 14}}
    styled(figure, 130 + 26 * half + 14 * bars, showlegend=False, title=title)
    figure.update_layout(margin={"l": 20, "r": 20, "t": 40, "b": 10})
    figure.update_xaxes(visible=False, range=[-0.9, count + 1.9], gridcolor=GRID)
    figure.update_yaxes(visible=False, range=[-(0.35 * bars + 0.9 + 0.62 * (half - 1)), 0.6])
    return figure
