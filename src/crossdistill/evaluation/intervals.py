"""Estimates with 95% intervals that respect groups: items of one group are not independent."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom, norm

from crossdistill.evaluation.resampling import (
    RESAMPLES,
    Floats,
    Ints,
    Statistic,
    compact,
    group_sums,
    group_weights,
    resampled,
)

__all__ = [
    "RESAMPLES", "Estimate", "Floats", "Ints", "difference", "group_weights", "mean_of_ratios", "median", "of_sums",
    "proportion",
]  # fmt: skip

_Z = float(norm.ppf(0.975))


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A measured value with its 95% interval.

    Attributes:
        value: the point estimate.
        low: lower end of the interval.
        high: upper end of the interval.
        items: number of test items behind it.
        draws: number of random draws it is averaged over.
        outcomes: what was measured on each item, in [0, 1] for proportions; for paired comparisons. Empty for what is
            not a mean over items.
        groups: group number of each item.
        parts: of a mean of ratios (see :func:`mean_of_ratios`), numerators and denominators ``(N, C, 2)``.
    """

    value: float
    low: float
    high: float
    items: int
    draws: int = 1
    outcomes: Floats = field(repr=False, compare=False)
    groups: Ints = field(repr=False, compare=False)
    parts: NDArray[Any] | None = field(default=None, repr=False, compare=False)

    @property
    def pairable(self) -> bool:
        """Whether it can be compared with another on the same items."""
        return self.parts is not None or len(self.outcomes) > 0

    def to_json(self) -> dict[str, Any]:
        """Without the per-item outcomes; rounded to five decimals, far below the interval's width."""
        numbers = {name: round(getattr(self, name), 5) for name in ("value", "low", "high")}
        return {**numbers, "items": self.items, "draws": self.draws}


def _clustered_variance(values: Floats, groups: Ints) -> float:
    """Variance of the mean of ``values`` ``(N,)`` when whole groups are sampled (sandwich estimator)."""
    count = len(values)
    residuals = values - values.mean()
    _, number = np.unique(groups, return_inverse=True)
    sums = np.bincount(number, weights=residuals)
    clusters = len(sums)
    if clusters < 2:
        return float("inf")
    return float((sums**2).sum() / count**2 * clusters / (clusters - 1))


def proportion(outcomes: Floats, groups: Ints) -> Estimate:
    """A success rate with a Wilson score interval of the effective sample size.

    The effective size is that of independent items with the same variance: groups (and, for several draws, the
    choice of the draws) make it smaller than the number of items. Where all outcomes agree the number of groups is
    taken, so an accuracy of 0 or 1 keeps an honest interval.

    Args:
        outcomes: ``(N,)`` or ``(draws, N)``, in [0, 1].
        groups: ``(N,)``.
    """
    table = np.atleast_2d(np.asarray(outcomes, dtype=np.float64))
    draws, count = table.shape
    if count == 0:
        raise ValueError("no items to estimate a proportion from")
    per_item = table.mean(axis=0)
    value = float(per_item.mean())
    variance = _clustered_variance(per_item, groups)
    if draws > 1:
        variance += float(table.mean(axis=1).var(ddof=1)) / draws
    clusters = float(len(np.unique(groups)))
    size = clusters
    if 0 < value < 1 and 0 < variance < math.inf:
        # Never more than the number of items: a lucky cancellation inside groups is no extra evidence.
        size = min(float(count), value * (1 - value) / variance)
    centre = (value + _Z**2 / (2 * size)) / (1 + _Z**2 / size)
    half = _Z / (1 + _Z**2 / size) * math.sqrt(value * (1 - value) / size + _Z**2 / (4 * size**2))
    low, high = min(value, max(0.0, centre - half)), max(value, min(1.0, centre + half))
    return Estimate(value=value, low=low, high=high, items=count, draws=draws, outcomes=per_item, groups=groups)


def median(values: Floats, groups: Ints) -> Estimate:
    """A median with the distribution-free interval between two order statistics (binomial), items as independent."""
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    count = len(ordered)
    low = int(binom.ppf(0.025, count, 0.5))
    high = min(count - 1, count - low)
    return Estimate(
        value=float(np.median(ordered)),
        low=float(ordered[max(0, low - 1)]),
        high=float(ordered[high]),
        items=count,
        outcomes=np.asarray(values, dtype=np.float64),
        groups=groups,
    )


def mean_of_ratios(
    numerators: NDArray[Any], denominators: NDArray[Any], groups: Ints, *, per_draw: Floats | None = None
) -> Estimate:
    """``1/C sum_c (sum_i a_ic / sum_i b_ic)``, over the classes with a denominator: macro F1, mean IoU.

    With ``a = 2 TP`` and ``b = 2 TP + FP + FN`` it is macro F1, with intersections and unions mean IoU. The interval is
    the percentile bootstrap over groups (Efron 1979), with the same resamples for every method that is compared.

    Args:
        numerators: what each item adds to a class's numerator, ``(N, C)``, not negative.
        denominators: likewise ``(N, C)``; a class that no item adds to is left out.
        groups: ``(N,)``.
        per_draw: the value of each random draw, where the counts of several are added up: their spread widens the
            interval.
    """
    parts = compact(np.stack([numerators, denominators], axis=2))
    if len(parts) == 0 or not (parts[:, :, 1].max(axis=0) > 0).any():
        raise ValueError("no items to estimate a mean of ratios from")
    summed = group_sums(parts, groups)
    value = float(_ratios(summed.sum(axis=0)[None])[0])
    low, high = 0.0, 1.0
    if len(summed) > 1:
        low, high = (float(each) for each in np.quantile(resampled(_ratios, summed), (0.025, 0.975)))
        low, high = _widened(value, min(low, value), max(high, value), per_draw)
    return Estimate(
        value=value, low=max(0.0, min(low, value)), high=max(min(high, 1.0), value), items=len(parts),
        draws=1 if per_draw is None else len(per_draw), outcomes=np.empty(0), groups=groups, parts=parts,
    )  # fmt: skip


def of_sums(
    statistic: Statistic, parts: NDArray[Any], groups: Ints, *, low: float = 0.0, high: float = 1.0
) -> Estimate:
    """A statistic of sums over items that is no mean: mutual information, Rand index.

    Resamples repeat items, and items that stand there twice agree with themselves: the resamples lie beside the
    estimate. The interval is as wide as they are spread about their median, and lies about the estimate. It covers the
    value to be expected of as many items.

    Args:
        statistic: of sums ``(R, ...)``, in [low, high].
        parts: what each item adds, ``(N, ...)``.
        groups: ``(N,)``; whole groups are resampled.
        low: smallest possible value.
        high: largest possible value.
    """
    summed = group_sums(parts, groups)
    value = float(statistic(summed.sum(axis=0)[None])[0])
    ends = (low, high)
    if len(summed) > 1:
        below, middle, above = (float(each) for each in np.quantile(resampled(statistic, summed), (0.025, 0.5, 0.975)))
        ends = max(low, value + below - middle), min(high, value + above - middle)
    return Estimate(value=value, low=ends[0], high=ends[1], items=len(parts), outcomes=np.empty(0), groups=groups)


def _widened(value: float, low: float, high: float, per_draw: Floats | None) -> tuple[float, float]:
    """An interval that covers the choice of the random draws too: their variance and its own add up."""
    if per_draw is None or len(per_draw) < 2:
        return low, high
    half = _Z * float(per_draw.std(ddof=1)) / math.sqrt(len(per_draw))
    return value - math.hypot(value - low, half), value + math.hypot(high - value, half)


def _ratios(sums: Floats) -> Floats:
    """``(R, C, 2)`` to the mean over classes of numerator over denominator ``(R,)``."""
    there = sums[:, :, 1] > 0
    ratios = np.divide(sums[:, :, 0], sums[:, :, 1], out=np.zeros(sums.shape[:2]), where=there)
    found: Floats = ratios.sum(axis=1) / np.maximum(there.sum(axis=1), 1)
    return found


def difference(first: Estimate, second: Estimate) -> Estimate:
    """``first - second`` measured on the same items.

    The interval is a normal one on the paired differences, or for means of ratios the percentile bootstrap over groups.
    """
    if first.outcomes.shape != second.outcomes.shape or not np.array_equal(first.groups, second.groups):
        raise ValueError("the two estimates were not measured on the same items")
    if first.parts is not None and second.parts is not None:
        return _difference_of_ratios(first, second, first.parts, second.parts)
    if not len(first.outcomes):
        raise ValueError("these estimates are no means over items, and cannot be paired")
    paired = first.outcomes - second.outcomes
    value = float(paired.mean())
    variance = _clustered_variance(paired, first.groups)
    half = _Z * math.sqrt(variance) if math.isfinite(variance) else 1.0
    return Estimate(
        value=value,
        low=max(-1.0, value - half),
        high=min(1.0, value + half),
        items=len(paired),
        draws=first.draws,
        outcomes=paired,
        groups=first.groups,
    )


def _difference_of_ratios(first: Estimate, second: Estimate, ours: NDArray[Any], theirs: NDArray[Any]) -> Estimate:
    one, other = (group_sums(parts, first.groups) for parts in (ours, theirs))
    drawn = resampled(_ratios, one) - resampled(_ratios, other)
    value = first.value - second.value
    low, high = (float(np.quantile(drawn, q)) for q in (0.025, 0.975)) if len(one) > 1 else (-1.0, 1.0)
    return Estimate(value=value, low=min(low, value), high=max(high, value), items=first.items, draws=first.draws,
                    outcomes=np.empty(0), groups=first.groups)  # fmt: skip
