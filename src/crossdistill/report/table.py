"""The results table: which columns there are, and each cell as text. Used by the report and by the terminal alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from crossdistill.report.metric_names import KINDS, format_value, kind_of, label_of, less_is_better, order_of
from crossdistill.report.metric_names import headlines as leading

__all__ = ["Cell", "Column", "Row", "Table", "build_table", "format_value", "label_of", "tables_by_kind"]


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


def build_table(metrics: dict[str, Any], *, headlines: bool) -> Table:
    """The table of a run.

    Args:
        metrics: content of ``metrics.json``.
        headlines: only the columns that fit a terminal.
    """
    found = {name for outcome in metrics["outcomes"] for name in outcome["metrics"]}
    return _table(metrics, leading(found) if headlines else sorted(found, key=order_of))


def tables_by_kind(metrics: dict[str, Any]) -> list[tuple[str, Table]]:
    """All metrics, in a table with a title for each kind of them."""
    found = sorted({name for outcome in metrics["outcomes"] for name in outcome["metrics"]}, key=order_of)
    kinds = {kind: [name for name in found if kind_of(name) == kind] for kind in KINDS}
    return [(KINDS[kind], _table(metrics, names)) for kind, names in kinds.items() if names]


def _table(metrics: dict[str, Any], names: list[str]) -> Table:
    found = {name: estimate for outcome in metrics["outcomes"] for name, estimate in outcome["metrics"].items()}
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


def _best(metrics: dict[str, Any], metric: str) -> float | None:
    """The best value among the distilled students; controls do not compete."""
    values = [
        outcome["metrics"][metric]["value"]
        for outcome in metrics["outcomes"]
        if outcome["role"] != "control" and metric in outcome["metrics"]
    ]
    if len(values) < 2:
        return None
    return float(min(values) if less_is_better(metric) else max(values))
