"""Estimates with 95% intervals that respect groups: items of one group are not independent."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom, norm

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

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
        outcomes: what was measured on each item, in [0, 1] for proportions; for paired comparisons.
        groups: group number of each item.
    """

    value: float
    low: float
    high: float
    items: int
    draws: int = 1
    outcomes: Floats = field(repr=False, compare=False)
    groups: Ints = field(repr=False, compare=False)

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


def difference(first: Estimate, second: Estimate) -> Estimate:
    """``first - second`` measured on the same items, with a normal interval on the paired differences."""
    if first.outcomes.shape != second.outcomes.shape or not np.array_equal(first.groups, second.groups):
        raise ValueError("the two estimates were not measured on the same items")
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
