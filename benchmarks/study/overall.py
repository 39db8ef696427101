"""What the tasks say together: the lead of the default over the best of the others, with intervals over test groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.record import Measurement, recorded
from benchmarks.study.tasks import DEFAULT, FAMILY, HEADLINES, WITH_DETAIL

FEW_SHOT, RETRIEVAL = HEADLINES
MASKS = "miou_frozen_100_masks"
TARGETS = ((FEW_SHOT, "few-shot accuracy", 3.0), (RETRIEVAL, "retrieval R@1", 10.0), (MASKS, "segmentation mIoU", 3.0))
Results = Mapping[str, Any]  # of a task, as its dated file has them


@dataclass(frozen=True)
class Lead:
    """How far the default is ahead of others on average over tasks, in the metric's own unit.

    Attributes:
        value: mean over the tasks.
        low: of the 95% interval.
        high: likewise.
        per_task: by task: the other method, the lead, and whether it is decided.
    """

    value: float
    low: float
    high: float
    per_task: Mapping[str, Mapping[str, Any]]

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return {"value": self.value, "low": self.low, "high": self.high, "per_task": dict(self.per_task)}


def best_other(metric: Mapping[str, Any], among: Sequence[str]) -> str | None:
    """The best of some methods on a metric."""
    there = [name for name in among if name in metric["values"]]
    return max(there, key=lambda name: float(metric["values"][name]["value"]), default=None)


def lead(found: Mapping[str, Results], name: str, among: Sequence[str]) -> Lead | None:
    """The default's lead over the best of ``among``, task by task and on average.

    Tasks are independent, so the variances of their leads add up; the best of each task is taken as if it had been
    known beforehand, which is in its favour.
    """
    rows: dict[str, dict[str, Any]] = {}
    variance = []
    for task, results in found.items():
        metric = next((each for each in results["metrics"] if each["name"] == name), None)
        if metric is None or DEFAULT not in metric["values"]:
            continue
        other = best_other(metric, among)
        if other is None:
            continue
        change = next(each for each in metric["against"] if each["second"] == other)
        ahead = change["difference"]
        rows[task] = {"other": other, "lead": ahead["value"], "low": ahead["low"], "high": ahead["high"],
                      "decided": change["decided"]}  # fmt: skip
        variance.append(((ahead["high"] - ahead["low"]) / (2 * 1.96)) ** 2)
    if not rows:
        return None
    value = float(np.mean([row["lead"] for row in rows.values()]))
    half = 1.96 * float(np.sqrt(np.sum(variance))) / len(rows)
    return Lead(value, value - half, value + half, rows)


def measurements(found: Mapping[str, Results]) -> list[Measurement]:
    """The study's targets, and whether they hold."""
    foreign = sorted({name for each in found.values() for name, method in each["methods"].items()
                      if name not in FAMILY and method["control"] is None})  # fmt: skip
    others = [name for name in foreign if not name.endswith(WITH_DETAIL)]  # as they were published
    alike = [name for name in foreign if name.endswith(WITH_DETAIL)]
    rows = []
    for name, words, wanted in TARGETS:
        ahead = lead(found, name, others)
        if ahead is not None:
            rows.append(_target(f"{words}: lead over the best other objective, mean over {len(ahead.per_task)} tasks",
                                ahead, wanted))  # fmt: skip
            first = sum(row["lead"] > 0 or not row["decided"] for row in ahead.per_task.values())
            rows.append(
                Measurement(
                    name=f"{words}: tasks on which the default is first or tied", value=first, unit="tasks",
                    reference=len(ahead.per_task), target="all", holds=first == len(ahead.per_task),
                )
            )  # fmt: skip
        level = lead(found, name, alike)
        if level is not None:
            value, low, high = (100 * each for each in (level.value, level.low, level.high))
            rows.append(recorded(f"{words}: lead over the best other objective that has detail, too "
                                 f"(95%: {low:+.1f} to {high:+.1f})", value, 0.0, "points"))  # fmt: skip
    alone = lead(found, FEW_SHOT, ["ssl_target", f"ssl_target{WITH_DETAIL}"])
    if alone is not None:
        rows.append(_target("few-shot accuracy: lead over SSL on the target alone", alone, 5.0))
    return rows


def _target(name: str, ahead: Lead, wanted: float) -> Measurement:
    value, low, high = (100 * each for each in (ahead.value, ahead.low, ahead.high))
    return Measurement(
        name=f"{name} (95%: {low:+.1f} to {high:+.1f})", value=value, unit="points", reference=wanted,
        target=f">= {wanted:g}, interval above 0", holds=value >= wanted and low > 0,
    )  # fmt: skip
