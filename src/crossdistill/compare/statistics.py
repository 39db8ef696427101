"""Paired comparisons of methods over seeds and test groups: bootstrap, Holm's correction, ranks.

A method's result has two sources of chance: the seed of its training, and the groups that happen to be in the test
split. Both are resampled at once, each method with the same seeds and groups (the pigeonhole bootstrap for crossed
random effects, Owen 2007, doi:10.1214/07-AOAS122, which errs on the side of too wide intervals).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossdistill.evaluation.intervals import Estimate, Floats

RESAMPLES = 2000
LEVEL = 0.05


@dataclass(frozen=True)
class Sums:
    """A metric of one method, ready for resampling.

    Attributes:
        parts: numerators and denominators, summed over the items of each group: ``(seeds, groups, classes, 2)``. A mean
            over items is one class whose denominator counts items.
    """

    parts: Floats

    @classmethod
    def of(cls, estimates: Sequence[Estimate]) -> Sums:
        """Of the same metric under several seeds, on the same items.

        Raises:
            ValueError: the items or groups differ, or the metric is no mean over items.
        """
        first = estimates[0]
        if any(not np.array_equal(each.groups, first.groups) for each in estimates):
            raise ValueError("the seeds were not measured on the same items")
        if not all(each.pairable for each in estimates):
            raise ValueError("this metric is no mean over items")
        _, number = np.unique(first.groups, return_inverse=True)
        tables = []
        for each in estimates:
            parts = each.parts
            if parts is None:
                parts = np.stack([each.outcomes, np.ones_like(each.outcomes)], axis=1)[:, None, :]
            summed = np.zeros((int(number.max()) + 1, *parts.shape[1:]))
            np.add.at(summed, number, parts)
            tables.append(summed)
        return cls(np.stack(tables))

    @property
    def seeds(self) -> int:
        """How many."""
        return len(self.parts)

    @property
    def groups(self) -> int:
        """How many."""
        return int(self.parts.shape[1])

    def per_seed(self) -> Floats:
        """The metric under each seed ``(seeds,)``."""
        return _ratios(self.parts.sum(axis=1))

    def value(self) -> float:
        """Its mean over the seeds."""
        return float(self.per_seed().mean())

    def resampled(self, draws: Draws) -> Floats:
        """The mean over resampled seeds of the metric on resampled groups ``(R,)``."""
        flat = self.parts.reshape(self.seeds, self.groups, -1)
        found = np.zeros(len(draws.groups))
        for number, each in enumerate(flat):  # one seed at a time: memory is R x classes, not R x seeds x classes
            sums = (draws.groups @ each).reshape(-1, *self.parts.shape[2:])
            found += draws.seeds[:, number] * _ratios(sums)
        return found / self.seeds


@dataclass(frozen=True)
class Draws:
    """How often each seed and each group is in each resample: ``(R, seeds)`` and ``(R, groups)``."""

    seeds: Floats
    groups: Floats

    @classmethod
    def make(cls, seeds: int, groups: int, resamples: int = RESAMPLES, seed: int = 0) -> Draws:
        """The same draws for every method of a comparison."""
        rng = np.random.default_rng((seed, seeds, groups))
        counts = [
            rng.multinomial(size, np.full(size, 1 / size), size=resamples).astype(np.float64)
            for size in (seeds, groups)
        ]
        return cls(*counts)


def _ratios(sums: Floats) -> Floats:
    """``(..., C, 2)`` to the mean over classes of numerator over denominator ``(...,)``."""
    there = sums[..., 1] > 0
    ratios = np.divide(sums[..., 0], sums[..., 1], out=np.zeros(sums.shape[:-1]), where=there)
    found: Floats = ratios.sum(axis=-1) / np.maximum(there.sum(axis=-1), 1)
    return found


@dataclass(frozen=True)
class Interval:
    """A value with its 95% interval."""

    value: float
    low: float
    high: float

    def to_json(self) -> dict[str, float]:
        """Rounded to five decimals."""
        return {name: round(getattr(self, name), 5) for name in ("value", "low", "high")}


@dataclass(frozen=True)
class Difference:
    """``first - second`` of a metric.

    Attributes:
        interval: of the difference.
        p: two-sided, of the bootstrap: how often a resample has the other sign.
        corrected: the same by Holm's correction over all comparisons of its family.
        wins: share of the seeds in which the first is ahead.
    """

    first: str
    second: str
    interval: Interval
    p: float
    corrected: float
    wins: float

    @property
    def decided(self) -> bool:
        """Whether the two differ at 5%, corrected."""
        return self.corrected < LEVEL

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return {
            "first": self.first, "second": self.second, "difference": self.interval.to_json(), "p": round(self.p, 5),
            "p_holm": round(self.corrected, 5), "decided": self.decided, "wins": round(self.wins, 3),
        }  # fmt: skip


def interval_of(sums: Sums, draws: Draws) -> Interval:
    """A method's mean over the seeds with its bootstrap interval."""
    return _interval(sums.value(), sums.resampled(draws))


def _interval(value: float, drawn: Floats) -> Interval:
    low, high = np.quantile(drawn, [LEVEL / 2, 1 - LEVEL / 2])
    return Interval(value, min(value, float(low)), max(value, float(high)))


def compare_all(methods: Mapping[str, Sums], reference: str | None = None) -> list[Difference]:
    """Every pair of methods, or each against ``reference``, on one metric; Holm's correction over all of them."""
    names = list(methods)
    first = methods[names[0]]
    if any(each.parts.shape[:2] != first.parts.shape[:2] for each in methods.values()):
        raise ValueError("the methods were not measured with the same seeds and groups")
    draws = Draws.make(first.seeds, first.groups)
    drawn = {name: each.resampled(draws) for name, each in methods.items()}
    couples = (
        [(reference, name) for name in names if name != reference] if reference is not None
        else [(one, other) for number, one in enumerate(names) for other in names[number + 1 :]]
    )  # fmt: skip
    found = []
    for one, other in couples:
        change = drawn[one] - drawn[other]
        value = methods[one].value() - methods[other].value()
        p = 2 * min(float((change <= 0).mean()), float((change >= 0).mean()))
        p = min(1.0, max(p, 1 / (len(change) + 1)))  # no resample of the other sign is not a chance of none
        ahead = methods[one].per_seed() - methods[other].per_seed()
        wins = float(((ahead > 0) + 0.5 * (ahead == 0)).mean())
        found.append((one, other, _interval(value, change), p, wins))
    corrected = holm([each[3] for each in found])
    return [
        Difference(one, other, interval, p, adjusted, wins)
        for (one, other, interval, p, wins), adjusted in zip(found, corrected, strict=True)
    ]


def holm(values: Sequence[float]) -> list[float]:
    """P values corrected for their number, in their order (Holm 1979).

    Args:
        values: uncorrected, of one family.
    """
    order = np.argsort(values, kind="stable")
    found = np.empty(len(values))
    highest = 0.0
    for place, number in enumerate(order):
        highest = max(highest, min(1.0, (len(values) - place) * values[number]))
        found[number] = highest
    return [float(each) for each in found]


def mean_ranks(methods: Mapping[str, Sums]) -> dict[str, Interval]:
    """Each method's rank among the methods, 1 is best, averaged over the resamples, with its 95% interval.

    The point is the rank of the means over seeds; ties share their ranks.
    """
    first = next(iter(methods.values()))
    draws = Draws.make(first.seeds, first.groups)
    drawn = np.stack([each.resampled(draws) for each in methods.values()], axis=1)
    per_seed = np.stack([each.per_seed() for each in methods.values()], axis=1)
    resampled, own = ranks_of(drawn), ranks_of(per_seed).mean(axis=0)
    return {name: _interval(float(own[number]), resampled[:, number]) for number, name in enumerate(methods)}


def ranks_of(values: NDArray[np.float64]) -> Floats:
    """Ranks within each row ``(R, m)``, the largest value has rank 1, ties the mean of their ranks."""
    above = (values[:, None, :] > values[:, :, None]).sum(axis=2)
    equal = (values[:, None, :] == values[:, :, None]).sum(axis=2)
    found: Floats = above + (equal + 1) / 2
    return found


def cliques(ranks: Mapping[str, float], differences: Sequence[Difference]) -> list[list[str]]:
    """Largest runs of methods, neighbours by rank, of which no two differ: the bars of a critical-difference diagram.

    Source: Demsar 2006, with pairwise tests and Holm's correction instead of Nemenyi's one difference for all, as
    Benavoli et al. 2016 (JMLR 17:5) advise.
    """
    order = sorted(ranks, key=lambda name: ranks[name])
    apart = {frozenset((each.first, each.second)) for each in differences if each.decided}
    found: list[list[str]] = []
    for start in range(len(order)):
        end = start + 1
        while end < len(order) and all(frozenset((order[end], each)) not in apart for each in order[start:end]):
            end += 1
        group = order[start:end]
        if len(group) > 1 and not any(set(group) <= set(other) for other in found):
            found.append(group)
    return found
