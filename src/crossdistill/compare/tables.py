"""A comparison's results as rows of text: for the page, for Markdown and for the terminal."""

from __future__ import annotations

from dataclasses import dataclass

from crossdistill.compare.findings import Findings, Metric
from crossdistill.report.table import format_value, label_of

_ENDS = ("_macro_f1", "_ece", "_r@5", "_r@10", "_median_rank")
_SMALLER = ("_median_rank", "_ece")


@dataclass(frozen=True)
class Cell:
    """One value of the table.

    Attributes:
        value: for people; empty where there is none.
        interval: likewise.
        verdict: how the method stands to the reference: ``ahead``, ``behind``, ``no`` for no difference that is
            decided, ``reference``, or empty.
        best: whether it is the best of its column.
    """

    value: str = ""
    interval: str = ""
    verdict: str = ""
    best: bool = False


@dataclass(frozen=True)
class Row:
    """A method's values."""

    method: str
    control: bool
    cells: tuple[Cell, ...]


def headlines(findings: Findings) -> list[Metric]:
    """The metrics that a first look needs: without those that say much the same in another form."""
    found = [each for each in findings.metrics if not each.name.endswith(_ENDS)]
    return found or list(findings.metrics)


def rows_of(findings: Findings, metrics: list[Metric]) -> list[Row]:
    """The table's rows: the reference first, then by the mean rank over the metrics."""
    names = sorted(findings.methods, key=lambda name: (name != findings.reference, _standing(name, metrics)))
    return [
        Row(name, findings.methods[name].control is not None, tuple(_cell(name, each, findings) for each in metrics))
        for name in names
    ]


def _standing(name: str, metrics: list[Metric]) -> float:
    found = [each.ranks[name].value for each in metrics if name in each.ranks]
    return sum(found) / len(found) if found else float("inf")


def _cell(name: str, metric: Metric, findings: Findings) -> Cell:
    if name not in metric.values:
        return Cell(value="failed" if name in findings.failed else "")
    each = metric.values[name]
    low, high = (format_value(metric.name, end) for end in (each.low, each.high))
    smaller = metric.name.endswith(_SMALLER)
    values = [found.value for found in metric.values.values()]
    verdict = "reference" if name == findings.reference else ""
    for other in metric.against:
        if other.second == name:
            verdict = "no" if not other.decided else "behind" if other.interval.value > 0 else "ahead"
    best = each.value == (min(values) if smaller else max(values))
    return Cell(format_value(metric.name, each.value), f"{low} \N{EN DASH} {high}", verdict, best)


_SIGNS = {"ahead": " ▲", "behind": " ▼", "no": "", "reference": "", "": ""}


def markdown(findings: Findings) -> str:
    """The results and the settings as Markdown."""
    metrics = headlines(findings)
    lines = [
        f"# {findings.pairs['name']}: {findings.reference} against {len(findings.methods) - 1} others",
        "",
        f"Mean over {findings.seeds} seeds with 95% intervals over seeds and {findings.pairs['test_groups']} test "
        f"groups; percent. ▲ better and ▼ worse than {findings.reference}, p < 0.05 after Holm's correction over the "
        "methods.",
        "",
        "| method | " + " | ".join(label_of(each.name) for each in metrics) + " |",
        "|---|" + "---|" * len(metrics),
    ]
    for row in rows_of(findings, metrics):
        cells = [f"{each.value} ({each.interval}){_SIGNS[each.verdict]}" if each.value else "" for each in row.cells]
        lines.append(f"| {row.method} | " + " | ".join(cells) + " |")
    lines += ["", "| method | chosen settings | score on validation | trials |", "|---|---|---|---|"]
    for name, trial in findings.chosen.items():
        score = "" if trial.score is None else f"{trial.score:.4f}"
        lines.append(f"| {name} | {settings_text(trial.settings)} | {score} | {len(findings.trials[name])} |")
    for name, reasons in findings.failed.items():
        lines += ["", f"{name} has no result: {reasons[0]}"]
    return "\n".join(lines) + "\n"


def settings_text(settings: object) -> str:
    """``epochs 12, temperature 0.05``."""
    found = dict(settings) if isinstance(settings, dict) else {}
    return ", ".join(f"{key.split('.')[-1]} {_short(value)}" for key, value in found.items()) or "as configured"


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
