"""The report's section on recognition: the curve over labels, how networks were trained, which classes are confused."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go

from crossdistill.report.figures import ACCENT, FAINT, SERIES, styled
from crossdistill.report.metric_names import classifier, label_of

_MOST_CLASSES = 40  # that a heat map shows; of more those that are confused most often
_WORST = 12  # confusions that are listed
_CONTROLS = ["#5c6670", "#93a0ad", "#84662d", "#b08f4f", "#3b6fc4"]


def section(metrics: dict[str, Any]) -> dict[str, Any] | None:
    """What the template shows beside the figures; None where nothing was classified."""
    found = metrics["recognition"]
    if found is None:
        return None
    notes = [
        {"subject": outcome["name"], "metric": label_of(name), "note": note}
        for outcome in metrics["outcomes"]
        for name, note in outcome["notes"].items()
    ]
    name = _confused(metrics)
    return {
        "notes": notes,
        "confused": None if name is None else label_of(name),
        "main": metrics["outcomes"][0]["name"],
        "worst": [] if name is None else _worst(found, name),
        "classes": len(found["classes"]),
        "shown": _MOST_CLASSES if len(found["classes"]) > _MOST_CLASSES else None,
        "labels": sum(found["labels"]["train"]),
    }


def label_curve(metrics: dict[str, Any]) -> go.Figure | None:
    """Accuracy over the number of labels a class; None where fewer than two numbers of labels were tried.

    The linear probes of all subjects, and the main student's other ways with labels; its probe with the band of its
    95% intervals.
    """
    found = metrics["recognition"]
    measured = [classifier(name) for outcome in metrics["outcomes"] for name in outcome["metrics"]]
    shots = sorted({each[1] for each in measured if each is not None and each[1]})
    if found is None or not shots:
        return None
    end = max(sum(found["labels"]["train"]) / max(1, len(found["classes"])), 1.5 * shots[-1])
    figure = go.Figure()
    for index, (subject, base, words, colour, dash) in enumerate(_lines(metrics)):
        points = {
            each[1] or end: estimate
            for name, estimate in subject["metrics"].items()
            if (each := classifier(name)) and each[0] == base and each[2] == "accuracy"
        }
        if base == "linear" and subject["name"] == "supervised" and "fine_tune" in subject["metrics"]:
            points[end] = subject["metrics"]["fine_tune"]  # its few-shot results are trainings too
        if base == "zero_shot" and points:
            points = dict.fromkeys((shots[0], end), next(iter(points.values())))
        if len(points) > 1:
            _add_line(figure, points, words, colour, dash, band=index == 0)
    if not figure.data:
        return None
    styled(figure, 420, title={"text": "accuracy over labels a class, %", "x": 0.01, "font": {"size": 14}})
    figure.update_layout(
        legend={"orientation": "h", "y": -0.2, "x": 0, "xanchor": "left"}, margin={"l": 50, "r": 16, "t": 36, "b": 40}
    )
    figure.update_xaxes(type="log", tickvals=[*shots, end], ticktext=[*map(str, shots), "all"])
    figure.update_yaxes(rangemode="tozero")
    return figure


def _lines(metrics: dict[str, Any]) -> list[tuple[dict[str, Any], str, str, str, str]]:
    """Subject, base of its metrics, name, colour and dash of each line; the main student's first."""
    main = metrics["outcomes"][0]
    lines = [
        (main, "linear", main["name"], ACCENT, "solid"),
        (main, "both", f"{main['name']}, both labels", SERIES[2], "solid"),
        (main, "zero_shot", f"{main['name']}, source labels alone", SERIES[2], "dot"),
        (main, "fine_tune", f"{main['name']}, fine-tuned", SERIES[3], "solid"),
    ]
    others = {"baseline": iter(SERIES[1:2] + SERIES[4:]), "control": iter(_CONTROLS)}
    for outcome in metrics["outcomes"][1:]:
        colour = next(others[outcome["role"]], FAINT)
        lines.append((outcome, "linear", outcome["name"], colour, "solid" if outcome["role"] == "baseline" else "dash"))
    return lines


def _add_line(
    figure: go.Figure, points: dict[float, dict[str, float]], words: str, colour: str, dash: str, *, band: bool
) -> None:
    places = sorted(points)
    if band:
        figure.add_scatter(
            x=[*places, *places[::-1]],
            y=[100 * points[x]["low"] for x in places] + [100 * points[x]["high"] for x in places[::-1]],
            fill="toself", fillcolor=f"{colour}22", line={"width": 0}, hoverinfo="skip", legendgroup=words,
            showlegend=False, mode="lines",
        )  # fmt: skip
    figure.add_scatter(
        x=places, y=[100 * points[x]["value"] for x in places], name=words, legendgroup=words, mode="lines+markers",
        line={"color": colour, "width": 2.5 if dash == "solid" else 1.6, "dash": dash},
        marker={"size": 6 if dash != "dot" else 1},
        customdata=[[100 * points[x]["low"], 100 * points[x]["high"]] for x in places],
        hovertemplate=f"{words}: %{{y:.1f}} (%{{customdata[0]:.1f}} to %{{customdata[1]:.1f}})<extra></extra>",
    )  # fmt: skip


def _confused(metrics: dict[str, Any]) -> str | None:
    """The classifier whose confusions are shown: that with all labels, trained or probed."""
    found = metrics["recognition"]
    return (
        None if found is None else next((name for name in ("linear", "fine_tune") if name in found["confusion"]), None)
    )


def _worst(found: dict[str, Any], name: str) -> list[dict[str, Any]]:
    cells = [cell for cell in found["confusion"][name] if cell[0] != cell[1]]
    classes, items = found["classes"], found["labels"]["test"]
    chosen = sorted(cells, key=lambda cell: (-cell[2], cell[0], cell[1]))[:_WORST]
    return [
        {"true": classes[true], "said": classes[said], "count": count, "of": items[true]}
        for true, said, count in chosen
    ]


def confusion_map(metrics: dict[str, Any]) -> go.Figure | None:
    """Of each true class (rows) the share that is taken for each class, in percent; of many classes those that are
    confused most often, each beside those that it is confused with.
    """
    name = _confused(metrics)
    if name is None:
        return None
    found = metrics["recognition"]
    cells, classes = found["confusion"][name], found["classes"]
    shown = _shown(cells, len(classes))
    place = {number: index for index, number in enumerate(shown)}
    counts = [[0] * len(shown) for _ in shown]
    totals = dict.fromkeys(shown, 0)
    for true, said, count in cells:
        if true in place:
            totals[true] += count
            if said in place:
                counts[place[true]][place[said]] = count
    shares = [
        [100 * count / totals[number] if totals[number] else None for count in row]
        for number, row in zip(shown, counts, strict=True)
    ]
    names = [_short(classes[number]) for number in shown]
    figure = go.Figure()
    figure.add_heatmap(
        z=shares, x=list(range(len(names))), y=list(range(len(names))), zmin=0, zmax=100, xgap=1, ygap=1,
        colorscale=[[0, "#f3f6f8"], [0.05, "#dcebf0"], [0.3, "#86b9c8"], [1, "#0b4f66"]], showscale=False,
        customdata=[
            [[classes[true], classes[said], counts[place[true]][place[said]], totals[true]] for said in shown]
            for true in shown
        ],
        hovertemplate="%{customdata[0]} taken for %{customdata[1]}: %{customdata[2]} of %{customdata[3]}"
        "<extra></extra>",
    )  # fmt: skip
    size = 18 if len(names) > 16 else 26
    styled(figure, 150 + size * len(names))
    figure.update_layout(margin={"l": 10, "r": 10, "t": 10, "b": 10})
    ticks = {"tickvals": list(range(len(names))), "ticktext": names, "showgrid": False, "tickfont": {"size": 11}}
    figure.update_xaxes(**ticks, tickangle=-60, title={"text": "taken for", "font": {"size": 12}})
    figure.update_yaxes(**ticks, autorange="reversed", title={"text": "true class", "font": {"size": 12}})
    return figure


def _shown(cells: list[list[int]], classes: int) -> list[int]:
    if classes <= _MOST_CLASSES:
        return list(range(classes))
    wrong = dict.fromkeys(range(classes), 0)
    for true, said, count in cells:
        if true != said:
            wrong[true] += count
            wrong[said] += count
    return sorted(sorted(wrong, key=lambda number: (-wrong[number], number))[:_MOST_CLASSES])


def _short(name: str) -> str:
    return name if len(name) <= 18 else f"{name[:17]}\N{HORIZONTAL ELLIPSIS}"
