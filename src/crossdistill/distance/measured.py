"""A measured distance with its interval, and how intervals are drawn that respect groups.

Items of one group are not independent, so whole groups are drawn, never items. There are three ways:

- **The bootstrap** (groups with replacement), for averages, also those over pairs of items of different groups. A
  group that is drawn twice is never compared with its own copy, as pairs within a group do not count, so copies do no
  harm.
- **Random halves** (half of the groups without replacement), for whatever a copy would spoil: among copies the nearest
  neighbour is at distance zero, ranks shrink, and sorted samples have ties. The delete-half jackknife (Shao and Wu,
  Annals of Statistics 17, 1989): the variance of an estimate over halves, around their own mean, is to first order the
  variance of the estimate over samples of full size, without any factor. What depends on the sample size shifts on
  halves, so only their spread is used, around the value of the full sample.
- **The jackknife** (all groups but one), where it has a closed form.

What is cross-validated gets one thing more. Its folds share most of the items that they are fitted to, so the fits err
together, of which no draw of held-out items tells: intervals are widened as Nadeau and Bengio (Machine Learning 52,
2003) propose.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from scipy.stats import norm

from crossdistill.evaluation.intervals import Floats, Ints

Interval = Literal["bootstrap", "cross-validation", "random halves", "jackknife", "confidence bound", "wilson score"]
Farther = Literal["higher", "lower", "neither"]

LEVEL = 0.95
FOLDS = 5
_WIDER = math.sqrt(1 + FOLDS / (FOLDS - 1))  # Nadeau and Bengio: the variance times 1 + folds * held out / fitted to


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One measurement of how far apart two samples are.

    Attributes:
        name: what was measured.
        value: the estimate. Estimates without bias scatter to both sides of zero where nothing is there, and are not
            clipped.
        low: lower end of the interval; for a confidence bound what is certified.
        high: upper end of the interval.
        level: confidence level of the interval.
        interval: how it was made.
        p_value: of the hypothesis that there is no difference (where higher is farther) or no relation (where lower
            is); None where there is no test.
        farther: in which direction the value means farther apart; ``neither`` for descriptions of one side.
        items: pairs, or items of both sides together, behind it.
        note: its best-known failure, in a phrase.
    """

    name: str
    value: float
    low: float
    high: float
    level: float = LEVEL
    interval: Interval
    p_value: float | None = None
    farther: Farther
    items: int
    note: str

    def __post_init__(self) -> None:
        if not all(map(math.isfinite, (self.value, self.low, self.high))) or not self.low <= self.value <= self.high:
            raise ValueError(f"{self.name}: {self.value} is not in its interval from {self.low} to {self.high}")

    def to_json(self) -> dict[str, Any]:
        """All attributes; numbers rounded to six significant digits."""
        return {name: float(f"{value:.6g}") if isinstance(value, float) else value
                for name, value in asdict(self).items()}  # fmt: skip


def bootstrap_weights(strata: Sequence[Ints], draws: int, rng: np.random.Generator) -> Floats:
    """How often each group is drawn ``(draws, G)``, with replacement and within each stratum.

    Args:
        strata: numbers of the groups that are drawn together: one array for pairs, one a side for unpaired samples.
        draws: number of bootstrap samples.
        rng: source of chance.
    """
    weights = np.zeros((draws, sum(map(len, strata))))
    for members in strata:
        weights[:, members] = rng.multinomial(len(members), np.full(len(members), 1 / len(members)), size=draws)
    return weights


def with_bootstrap(strata: Sequence[Ints], draws: int, rng: np.random.Generator) -> Floats:
    """Weights of the sample as it is, 1 for each group, then `bootstrap_weights`: ``(1 + draws, G)``."""
    drawn = bootstrap_weights(strata, draws, rng)
    return np.concatenate([np.ones((1, drawn.shape[1])), drawn])


def half_masks(
    strata: Sequence[Ints], draws: int, rng: np.random.Generator
) -> tuple[list[np.ndarray[Any, Any]], float]:
    """Random halves of the groups: ``draws`` masks ``(G,)``, and what their variance is to be multiplied with.

    The factor is 1 for an even number of groups. Of bias that falls with 1/n the same factor times (mean over halves -
    value) is what the full sample has.
    """
    masks = []
    for _ in range(draws):
        mask = np.zeros(sum(map(len, strata)), dtype=bool)
        for members in strata:
            mask[rng.permutation(members)[: len(members) // 2]] = True
        masks.append(mask)
    smallest = min(map(len, strata))
    return masks, (smallest // 2) / (smallest - smallest // 2)


def quantiles(value: float, drawn: Floats) -> tuple[float, float]:
    """The percentile interval of bootstrap draws; it always has the value in it."""
    low, high = np.quantile(drawn, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return min(value, float(low)), max(value, float(high))


def cross_validated(value: float, drawn: Floats, lowest: float, highest: float) -> tuple[float, float]:
    """The percentile interval of draws of held-out groups, widened for the fits, within the measure's range."""
    low, high = quantiles(value, value + _WIDER * (drawn - value))
    return min(value, max(lowest, low)), max(value, min(highest, high))


def spread(
    value: float, halves: Floats, factor: float, *, extra: float = 0.0, lowest: float = -math.inf,
    highest: float = math.inf,
) -> tuple[float, float]:  # fmt: skip
    """The normal interval around ``value`` with the variance of random halves, within the range of what is measured.

    A normal interval needs some dozens of halves, percentiles would need hundreds.

    Args:
        value: the estimate from all groups.
        halves: the estimates from the halves.
        factor: see `half_masks`.
        extra: variance from other sources, such as random directions.
        lowest: what the measure cannot go below.
        highest: what it cannot exceed.
    """
    return normal(value, float(np.var(halves, ddof=1)) * factor + extra, lowest, highest)


def normal(value: float, variance: float, lowest: float, highest: float) -> tuple[float, float]:
    """The normal interval, within the range of what is measured."""
    half = float(norm.ppf((1 + LEVEL) / 2)) * math.sqrt(variance)
    return min(value, max(lowest, value - half)), max(value, min(highest, value + half))


def permutation_p(observed: float, drawn: Floats) -> float:
    """The share of permutations that are at least as large, the observed one included (Phipson and Smyth, 2010)."""
    return float((1 + (drawn >= observed - 1e-12 * abs(observed)).sum()) / (1 + len(drawn)))


def folds_p(found: Sequence[float]) -> float:
    """One p-value of several folds: twice their mean.

    Each fold's own is valid given what its fit was made from. But fits share items, so folds depend on each other in
    ways that a permutation within folds does not have. Twice the mean is valid whatever the dependence (Rueschendorf,
    1982; Vovk and Wang, arXiv 1212.4966).
    """
    return min(1.0, 2 * float(np.mean(found)))
