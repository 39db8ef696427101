"""Shape and place of two clouds of unit vectors: the modality gap, cones, effective rank, alignment and uniformity."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from crossdistill.distance.kernels import gaussian, squared_distances
from crossdistill.distance.mean_discrepancy import between_groups, discrepancy, group_sums
from crossdistill.distance.measured import Measured, half_masks, quantiles, spread, with_bootstrap
from crossdistill.distance.samples import Samples, pairs, two_samples, unit_rows
from crossdistill.evaluation.intervals import Floats, Ints

SIDES = ("source", "target")
_HALVES = 40


def modality_gap(
    source: ArrayLike, target: ArrayLike, groups: ArrayLike | None = None, *, target_groups: ArrayLike | None = None,
    seed: int = 0, draws: int = 200,
) -> Measured:  # fmt: skip
    """The distance between the centroids of both sides' unit vectors, between 0 and 2.

    Source: Liang et al., arXiv 2203.02053. The centroids of n items are apart by chance as well, by about the root of 2
    / n where vectors point everywhere; that is taken off (it is the MMD of the linear kernel, without bias), and what
    would be negative under the root is 0. Interval and permutations as in
    `crossdistill.distance.mean_discrepancy.mean_discrepancy`.

    Fails: it looks at means alone. A gap can be closed by subtracting them, with no gain for retrieval, and clouds that
    do not touch can have none.

    Args:
        source: ``(n, d)``.
        target: ``(m, d)``.
        groups: see `crossdistill.distance.samples.two_samples`, as is ``target_groups``.
        target_groups: ``(m,)`` for samples that are not paired.
        seed: of interval and permutations.
        draws: of both.

    Raises:
        ValueError: samples that are no two samples of one space, see there; a vector that is zero.
    """
    samples = two_samples(source, target, groups, target_groups)
    x, y = unit_rows(samples.source), unit_rows(samples.target)
    found = discrepancy(samples, x @ x.T, y @ y.T, x @ y.T, np.random.default_rng((seed, 11)), draws)
    low, high = (math.sqrt(max(0.0, end)) for end in quantiles(found.value, found.drawn))
    return Measured(
        name="modality_gap", value=math.sqrt(max(0.0, found.value)), low=low, high=high, interval="bootstrap",
        p_value=found.p_value, farther="higher", items=samples.items, note="means alone; clouds apart can have none",
    )  # fmt: skip


def cone(
    vectors: ArrayLike, groups: ArrayLike | None = None, *, side: str = "source", seed: int = 0, draws: int = 200
) -> Measured:
    """The mean cosine between items of different groups: 0 for vectors that point everywhere, 1 for a single direction.

    Source: Liang et al., arXiv 2203.02053. A narrow cone makes all cosines alike. It describes one side and is no
    distance.

    Fails: it knows the mean direction alone (it is the squared length of the mean of unit vectors), so two opposite
    cones look like none.

    Args:
        vectors: ``(n, d)``.
        groups: ``(n,)``.
        side: for the name.
        seed: of the bootstrap.
        draws: of the bootstrap.

    Raises:
        ValueError: see `crossdistill.distance.samples.pairs`; a vector that is zero.
    """
    samples, rows = _one_side(vectors, groups)
    found = _over_pairs(samples, rows @ rows.T, np.random.default_rng((seed, 12)), draws)
    return _described(f"cone_{side}", found, samples, "knows the mean direction alone")


def effective_rank(
    vectors: ArrayLike, groups: ArrayLike | None = None, *, side: str = "source", seed: int = 0, draws: int = 200
) -> Measured:
    """How many dimensions unit vectors fill: the exponential of the entropy of their singular values' shares.

    Source: Roy and Vetterli, EUSIPCO 2007; as RankMe, arXiv 2210.02885. Between 1 and min(n, d); as
    `crossdistill.training.guards.effective_rank`. The interval has the spread of at most 40 random halves.

    Fails: it grows with the number of items until there are many more of these than dimensions, and noise counts as
    dimensions like anything else. It describes one side and is no distance.

    Args:
        vectors: ``(n, d)``.
        groups: ``(n,)``.
        side: for the name.
        seed: of the halves.
        draws: number of halves, up to 40.

    Raises:
        ValueError: see `crossdistill.distance.samples.pairs`; a vector that is zero.
    """
    samples, rows = _one_side(vectors, groups)
    masks, factor = half_masks(samples.strata, min(draws, _HALVES), np.random.default_rng((seed, 13)))
    halves = np.array([rank_of(rows[samples.of_groups(mask)[0]]) for mask in masks])
    value = rank_of(rows)
    low, high = spread(value, halves, factor, lowest=1.0, highest=float(min(rows.shape)))
    return Measured(
        name=f"effective_rank_{side}", value=value, low=low, high=high, interval="random halves", farther="neither",
        items=samples.items, note="grows with the number of items; noise counts as dimensions",
    )  # fmt: skip


def alignment(
    source: ArrayLike, target: ArrayLike, groups: ArrayLike | None = None, *, seed: int = 0, draws: int = 200
) -> Measured:
    """The mean squared distance between partners as unit vectors: 0 for the same, 2 for unrelated, 4 for opposite ones.

    Source: Wang and Isola, arXiv 2005.10242, with the exponent 2. The interval is the bootstrap over groups.

    Fails: a space that has collapsed to a point is aligned perfectly; look at uniformity as well.

    Args:
        source: ``(n, d)``.
        target: ``(n, d)``.
        groups: ``(n,)``.
        seed: of the bootstrap.
        draws: of the bootstrap.

    Raises:
        ValueError: no pairs in one space, see `crossdistill.distance.samples.two_samples`; a vector that is zero.
    """
    samples = two_samples(source, target, groups)
    squares = ((unit_rows(samples.source) - unit_rows(samples.target)) ** 2).sum(axis=1)
    weights = with_bootstrap(samples.strata, draws, np.random.default_rng((seed, 14)))
    found = weights @ np.bincount(samples.groups, weights=squares) / (weights @ np.bincount(samples.groups))
    low, high = quantiles(float(found[0]), found[1:])
    return Measured(
        name="alignment", value=float(found[0]), low=low, high=high, interval="bootstrap", farther="higher",
        items=samples.items, note="a collapsed space is aligned perfectly",
    )  # fmt: skip


def uniformity(
    vectors: ArrayLike, groups: ArrayLike | None = None, *, side: str = "source", seed: int = 0, draws: int = 200
) -> Measured:
    """``log mean exp(-2 |x_i - x_j|^2)`` of unit vectors of different groups: 0 for one point, lower when spread out.

    Source: Wang and Isola, arXiv 2005.10242. The least is about -4 in many dimensions. It describes one side and is
    no distance. The interval is the bootstrap over groups.

    Fails: in high dimension, random vectors are spread as well as vectors can be, so a low value is no merit.

    Args:
        vectors: ``(n, d)``.
        groups: ``(n,)``.
        side: for the name.
        seed: of the bootstrap.
        draws: of the bootstrap.

    Raises:
        ValueError: see `crossdistill.distance.samples.pairs`; a vector that is zero.
    """
    samples, rows = _one_side(vectors, groups)
    kernel = gaussian(squared_distances(rows, rows), 0.25)
    found = np.log(_over_pairs(samples, kernel, np.random.default_rng((seed, 15)), draws))
    return _described(f"uniformity_{side}", found, samples, "random vectors in many dimensions are as low as can be")


def rank_of(rows: Floats) -> float:
    """The effective rank of rows ``(n, d)`` as they are."""
    gram = rows @ rows.T if len(rows) <= rows.shape[1] else rows.T @ rows
    values = np.sqrt(np.maximum(np.linalg.eigvalsh(gram), 0))
    share = values / values.sum()
    share = share[share > 1e-12]
    return float(np.exp(-(share * np.log(share)).sum()))


def _one_side(vectors: ArrayLike, groups: ArrayLike | None) -> tuple[Samples, Floats]:
    samples = pairs(vectors, vectors, groups)
    return samples, unit_rows(samples.source)


def _over_pairs(samples: Samples, kernel: Floats, rng: np.random.Generator, draws: int) -> Floats:
    """Mean over pairs of items of different groups, and its bootstrap ``(1 + draws,)``."""
    sizes: Ints = np.bincount(samples.groups)
    sums = group_sums(kernel, samples.groups, samples.groups, samples.count)
    return between_groups(sums, sizes, sizes, with_bootstrap(samples.strata, draws, rng))


def _described(name: str, found: Floats, samples: Samples, note: str) -> Measured:
    low, high = quantiles(float(found[0]), found[1:])
    return Measured(
        name=name, value=float(found[0]), low=low, high=high, interval="bootstrap", farther="neither",
        items=samples.items, note=note,
    )  # fmt: skip
