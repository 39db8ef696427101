"""From pilots to the gain of a full run: a learning curve, corrected by what came out elsewhere.

The correction and the width of the intervals are learnt from full runs on other sets (``python -m benchmarks.theory``
writes ``calibration.json``, and judges it on sets that were left out).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from importlib import resources

import numpy as np
from pydantic import BaseModel, ConfigDict

from crossdistill.advisor.curve import LearningCurve, Spread, fit_curve
from crossdistill.advisor.evidence import DEFAULT, TaskEvidence
from crossdistill.evaluation.intervals import Floats

LEVEL = 0.9
_NORMAL_90, _NORMAL_95 = 1.645, 1.96  # of a normal variable, two-sided
_ABOVE_TEACHER = 0.15  # accuracy by which a student may pass its teacher, as where it sees many sources of one target
# What is believed before any full run: a pilot and a linear student estimate the same gain, and the curve adds to it.
_PRIOR = (0.5, 1.0, 0.5)
_RIDGE = 1.0  # its pull, against that of full runs on other sets: there are few sets
_FILE = "calibration.json"


class Calibration(BaseModel):
    """How much of what pilots promise is kept by full runs.

    Attributes:
        weights: of the gain that pilots show, of the growth that the curve adds, and of the gain of linear students.
        offset: added to it.
        spread: half width of the 90% interval.
        error: typical standard error of the gain that pilots showed there, which ``spread`` has in it.
        records: full runs that it was learnt from.
        sets: and their sets.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    weights: tuple[float, float, float]
    offset: float
    spread: float
    error: float
    records: int
    sets: tuple[str, ...]


class Calibrations(BaseModel):
    """One for tasks with labels, one for stand-ins."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    labelled: Calibration
    stand_in: Calibration


@cache
def calibrations() -> Calibrations:
    """What is shipped."""
    text = resources.files("crossdistill.advisor").joinpath(_FILE).read_text(encoding="utf-8")
    return Calibrations.model_validate_json(text)


def curve_of(task: TaskEvidence) -> LearningCurve:
    """The learning curve of the pilots with the default objective."""
    pilots = [each for each in task.pilots if each.objective == DEFAULT]
    highest = min(1.0, task.source.value + _ABOVE_TEACHER)
    items = max(1, task.items)
    error = 0.5 * math.sqrt(task.source.value * (1 - task.source.value) / items)  # half, as sizes share their items
    return fit_curve([each.pairs for each in pilots], [each.accuracy for each in pilots], highest, max(0.015, error))


def features(task: TaskEvidence, curve: LearningCurve, pairs: int) -> Floats:
    """What a forecast for ``pairs`` pairs rests on ``(3,)``: gain of pilots, growth of the curve, linear gain."""
    tried = max(each.pairs for each in task.pilots)
    alone = task.alone.value
    now = curve.mean_at(tried)
    return np.array([now - alone, curve.mean_at(max(pairs, 1)) - now, best_linear(task) - alone])


def best_linear(task: TaskEvidence) -> float:
    """Accuracy of the linear students of the most pairs."""
    most = max(each.pairs for each in task.linear)
    chosen = [each.accuracy for each in task.linear if each.pairs == most]
    return sum(chosen) / len(chosen)


def gain_error(task: TaskEvidence) -> float:
    """Standard error of the gain that pilots showed: of the choice of held-out groups."""
    return (task.gain.high - task.gain.low) / (2 * _NORMAL_95)


def fit_calibration(
    rows: Sequence[Floats], gains: Sequence[float], sets: Sequence[str], errors: Sequence[float] = (0.0,)
) -> Calibration:
    """Learns from full runs.

    Sets count alike, however many runs they have. The interval is as wide as it takes to cover 90% of the residuals of
    sets that were left out (as the jackknife does with items; Barber et al., arXiv 1905.02928).

    Args:
        rows: features of each run ``(R, 3)``.
        gains: that came out ``(R,)``.
        sets: which set each run is of ``(R,)``.
        errors: standard errors of the pilots' gains ``(R,)``.
    """
    names = sorted(set(sets))
    table, wanted, owner = np.stack(rows), np.asarray(gains), np.asarray(sets)
    weights, offset = _solve(table, wanted, owner)
    if len(names) < 2:
        raise ValueError("at least two sets are needed: one to learn from, and one to be left out")
    residuals, shares = [], []
    for name in names:
        kept = owner != name
        w, c = _solve(table[kept], wanted[kept], owner[kept])
        residuals.append(np.abs(table[~kept] @ w + c - wanted[~kept]))
        shares.append(np.full(int((~kept).sum()), 1 / (~kept).sum()))
    off, share = np.concatenate(residuals), np.concatenate(shares)
    order = np.argsort(off)
    reached = np.cumsum(share[order]) / share.sum()
    spread = float(off[order][min(len(order) - 1, int(np.searchsorted(reached, LEVEL)))])
    first, second, third = (float(round(each, 5)) for each in weights)
    return Calibration(weights=(first, second, third), offset=round(float(offset), 5), spread=round(spread, 5),
                       error=round(float(np.median(errors)), 5), records=len(wanted), sets=tuple(names))  # fmt: skip


def _solve(table: Floats, wanted: Floats, owner: Floats) -> tuple[Floats, float]:
    """Weights and offset of a ridge regression towards the prior, every set counting alike."""
    counts = {name: int((owner == name).sum()) for name in np.unique(owner).tolist()}
    share = np.array([1 / (counts[name] * len(counts)) for name in owner.tolist()])
    design = np.concatenate([table, np.ones((len(table), 1))], axis=1)
    prior = np.array([*_PRIOR, 0.0])
    scale = np.array([1.0, 1.0, 1.0, 0.0]) * _RIDGE * float((share[:, None] * table**2).sum() / 3)
    left = design.T @ (share[:, None] * design) + np.diag(scale)
    solved = prior + np.linalg.solve(left, design.T @ (share * (wanted - design @ prior)))
    return solved[:3], float(solved[3])


def forecast(task: TaskEvidence, curve: LearningCurve, pairs: int, known: Calibration | None = None) -> Spread:
    """The few-shot gain over labels alone to be expected of a full run with ``pairs`` pairs, with its 90% interval."""
    if known is None:
        known = calibrations().stand_in if task.stand_in else calibrations().labelled
    value = float(features(task, curve, pairs) @ np.array(known.weights)) + known.offset
    # What the pilots' own scatter adds where the curve is drawn far out.
    drawn = curve.at(pairs)
    tried = curve.at(max(each.pairs for each in task.pilots))
    wider = max(0.0, (drawn.high - drawn.low) - (tried.high - tried.low)) / 2
    # And what pilots with fewer held-out items are less certain of than those that the spread was learnt from.
    vaguer = _NORMAL_90 * math.sqrt(max(0.0, gain_error(task) ** 2 - known.error**2))
    half = math.hypot(known.spread, known.weights[1] * wider, known.weights[0] * vaguer)
    return Spread(value, value - half, value + half)
