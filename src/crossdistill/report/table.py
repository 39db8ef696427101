"""The results table: which columns there are, and each cell as text. Used by the report and by the terminal alike."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

_LABELS = {
    "target_to_source_r@1": "R@1",
    "target_to_source_r@5": "R@5",
    "target_to_source_r@10": "R@10",
    "target_to_source_median_rank": "median rank",
    "source_to_target_r@1": "R@1 back",
    "source_to_target_r@5": "R@5 back",
    "source_to_target_r@10": "R@10 back",
    "source_to_target_median_rank": "median rank back",
    "zero_shot": "zero-shot",
    "knn": "k-NN",
    "linear": "linear",
    "fine_tune": "all weights trained",
}
_HEADLINES = ("target_to_source_r@1", "target_to_source_r@5", "zero_shot", "knn", "linear", "fine_tune")


_SEGMENTATION = re.compile(r"(miou|pixel_accuracy)_(frozen|tuned)(?:_(\d+)_masks)?")


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A measured value as text: ``31.2``, ``26.9 - 35.9``; both empty where nothing was measured."""

    value: str = ""
    interval: str = ""
    best: bool = False


@dataclass(frozen=True, kw_only=True)
class Row:
    """A subject's line."""

    name: str
    role: str
    description: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True, kw_only=True)
class Column:
    """A metric's column. ``items`` is the number of test items behind it."""

    metric: str
    label: str
    items: int


@dataclass(frozen=True, kw_only=True)
class Table:
    """Columns and rows."""

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]


def label_of(metric: str) -> str:
    """A metric's name for people."""
    if metric.startswith("linear_") and metric.endswith("_shot"):
        return f"{metric.removeprefix('linear_').removesuffix('_shot')}-shot"
    if (match := _SEGMENTATION.fullmatch(metric)) is not None:
        number = "" if match[3] is None else f", {match[3]} masks"
        return f"{'mIoU' if match[1] == 'miou' else 'pixels'} {match[2]}{number}"
    return _LABELS.get(metric, metric)


def format_value(metric: str, value: float) -> str:
    """Percent with one decimal; ranks as they are."""
    return f"{value:g}" if metric.endswith("median_rank") else f"{100 * value:.1f}"


def _order(metric: str) -> tuple[int, int]:
    names = list(_LABELS)
    if (match := _SEGMENTATION.fullmatch(metric)) is not None:
        place = 2 * (match[1] != "miou") + (match[2] != "frozen")
        return len(names) + 1 + place, int(match[3] or 1_000_000)
    if metric.startswith("linear_"):
        return names.index("knn"), int(metric.split("_")[1])
    return (names.index(metric), 1_000_000) if metric in names else (len(names), 0)


def build_table(metrics: dict[str, Any], *, headlines: bool) -> Table:
    """The table of a run.

    Args:
        metrics: content of ``metrics.json``.
        headlines: only the columns that fit a terminal.
    """
    found = {name: estimate for outcome in metrics["outcomes"] for name, estimate in outcome["metrics"].items()}
    names = sorted(found, key=_order)
    if headlines:
        names = [name for name in names if name in _HEADLINES or name.endswith("_shot") or _leads(name, names)]
    columns = tuple(Column(metric=name, label=label_of(name), items=found[name]["items"]) for name in names)
    best = {name: _best(metrics, name) for name in names}
    rows = []
    for outcome in metrics["outcomes"]:
        cells = []
        for name in names:
            estimate = outcome["metrics"].get(name)
            if estimate is None:
                cells.append(Cell())
                continue
            low, high = (format_value(name, estimate[end]) for end in ("low", "high"))
            trained = outcome["role"] != "control"
            cells.append(
                Cell(
                    value=format_value(name, estimate["value"]),
                    interval=f"{low} \N{EN DASH} {high}",
                    best=trained and estimate["value"] == best[name],
                )
            )
        rows.append(
            Row(name=outcome["name"], role=outcome["role"], description=outcome["description"], cells=tuple(cells))
        )
    return Table(columns=columns, rows=tuple(rows))


def _leads(metric: str, names: list[str]) -> bool:
    """Whether it is a mean IoU of all masks, or of few where there is none of all."""
    match = _SEGMENTATION.fullmatch(metric)
    if match is None or match[1] != "miou":
        return False
    return match[3] is None or f"miou_{match[2]}" not in names


def _best(metrics: dict[str, Any], metric: str) -> float | None:
    """The best value among the distilled students; controls do not compete."""
    values = [
        outcome["metrics"][metric]["value"]
        for outcome in metrics["outcomes"]
        if outcome["role"] != "control" and metric in outcome["metrics"]
    ]
    if len(values) < 2:
        return None
    return float(min(values) if metric.endswith("median_rank") else max(values))
