"""How accuracy grows with the number of pairs: a power law fitted to pilots, and how sure it is of what lies beyond."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from crossdistill.evaluation.intervals import Floats

_CEILINGS, _RATES, _STARTS = 61, 25, 41  # points of the grid
_SLOWEST, _FASTEST = 0.15, 1.5  # exponents
_LEAST_NOISE = 0.015  # of a pilot's accuracy: its test items are few


@dataclass(frozen=True)
class Spread:
    """A quantity that is known with some uncertainty: its median, and the 5% and 95% quantiles."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class LearningCurve:
    """``accuracy(n) = c - (c - a) (n / n0)^-b``, as a distribution over ceilings c, starts a and exponents b.

    Power laws with an offset describe learning curves well (Hestness et al., arXiv 1712.00409; Rosenfeld et al.,
    arXiv 1909.12673). Three sizes tell little about the exponent, so it is not estimated but averaged over: each
    combination counts by how well it explains the pilots.

    Attributes:
        start: n0, the smallest number of pairs that was tried.
        ceiling: c of each combination.
        first: a.
        rate: b.
        weight: of each combination; sums to one.
    """

    start: int
    ceiling: Floats
    first: Floats
    rate: Floats
    weight: Floats

    def at(self, pairs: float) -> Spread:
        """Accuracy with ``pairs`` pairs."""
        return self._spread(self._accuracy(pairs))

    @property
    def limit(self) -> Spread:
        """Accuracy with ever more pairs."""
        return self._spread(self.ceiling)

    def mean_at(self, pairs: float) -> float:
        """Expected accuracy with ``pairs`` pairs."""
        return float((self.weight * self._accuracy(pairs)).sum())

    def pairs_for(self, share: float, floor: float) -> Spread:
        """Pairs at which ``share`` of the way from ``floor`` (accuracy without any) to the ceiling is reached."""
        wanted = floor + share * (self.ceiling - floor)
        missing = np.maximum(self.ceiling - wanted, 1e-9)
        gap = np.maximum(self.ceiling - self.first, 0)
        needed = np.where(gap <= missing, self.start, self.start * (gap / missing) ** (1 / self.rate))
        return self._spread(needed)

    def _accuracy(self, pairs: float) -> Floats:
        found: Floats = self.ceiling - (self.ceiling - self.first) * (pairs / self.start) ** -self.rate
        return found

    def _spread(self, values: Floats) -> Spread:
        order = np.argsort(values, kind="stable")
        reached = np.cumsum(self.weight[order])
        low, middle, high = (values[order[min(len(order) - 1, int(np.searchsorted(reached, q)))]] for q in
                             (0.05, 0.5, 0.95))  # fmt: skip
        return Spread(float(middle), float(low), float(high))


def fit_curve(
    pairs: Sequence[int], accuracies: Sequence[float], highest: float, error: float = _LEAST_NOISE
) -> LearningCurve:
    """Fits pilots.

    Args:
        pairs: of each pilot ``(P,)``.
        accuracies: of each pilot ``(P,)``, in [0, 1].
        highest: that the ceiling may be, such as the teacher's own accuracy on the source and a little more.
        error: least standard error of an accuracy.
    """
    sizes, measured = np.asarray(pairs, dtype=np.float64), np.asarray(accuracies, dtype=np.float64)
    if len(sizes) == 0 or len(sizes) != len(measured):
        raise ValueError(f"{len(sizes)} sizes and {len(measured)} accuracies")
    start = int(sizes.min())
    distinct = np.unique(sizes)
    means = np.array([measured[sizes == each].mean() for each in distinct])
    counts = np.array([(sizes == each).sum() for each in distinct])
    freedom = len(sizes) - len(distinct)
    spread = sum(
        float(((measured[sizes == each] - mean) ** 2).sum()) for each, mean in zip(distinct, means, strict=True)
    )
    noise = max(error, np.sqrt(spread / freedom) if freedom > 0 else 2 * error)
    top = min(1.0, max(highest, float(means.max()) + 2 * noise))
    ceilings = np.linspace(float(means.min()), top, _CEILINGS)
    rates = np.geomspace(_SLOWEST, _FASTEST, _RATES)
    starts = means[0] + noise * np.linspace(-3, 3, _STARTS)
    c, a, b = (each.ravel() for each in np.meshgrid(ceilings, starts, rates, indexing="ij"))
    kept = c >= a  # more pairs do no harm
    c, a, b = c[kept], a[kept], b[kept]
    fitted = c[:, None] - (c - a)[:, None] * (distinct / start)[None, :] ** -b[:, None]
    fit = -0.5 * (((fitted - means) / noise) ** 2 * counts).sum(axis=1)
    weight = np.exp(fit - fit.max())
    return LearningCurve(start, c, a, b, weight / weight.sum())
