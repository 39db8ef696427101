"""Do two spaces agree on what is alike? Centred kernel alignment: similarities in one against those in the other.

The spaces may have different dimensions. Items of one group are alike in both for no interesting reason: one random
item of each group is taken, several times over.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from crossdistill.distance.kernels import gaussian, median_squared_distance, squared_distances
from crossdistill.distance.measured import Measured, half_masks, permutation_p, spread
from crossdistill.distance.samples import one_per_group, pairs, several_per_group
from crossdistill.evaluation.intervals import Floats, Ints

_HALVES = 100


def kernel_alignment(
    source: ArrayLike, target: ArrayLike, groups: ArrayLike | None = None, *,
    kernel: Literal["linear", "rbf"] = "linear", seed: int = 0, draws: int = 200,
) -> Measured:  # fmt: skip
    """CKA with the unbiased HSIC: 1 for spaces that are alike up to rotation and scale, 0 for independent ones.

    Source: Kornblith et al., arXiv 1905.00414; the estimate of Song et al., JMLR 13, 2012, equation 5, as Nguyen et
    al., arXiv 2010.15327, use it. The usual biased estimate goes to 1 when there are more dimensions than items,
    whether the spaces have anything in common or not; this one stays around 0 and may be negative. The interval has the
    spread of at most 100 random halves, the p-value permutes the partners.

    Fails: the leading principal components decide (their share of the variance enters squared), so it is insensitive to
    what is in small ones, even where that can be read out perfectly, and a few outliers can turn it. It is not
    invariant to linear maps other than rotations and scale.

    Args:
        source: ``(n, d)``.
        target: ``(n, e)``.
        groups: ``(n,)``.
        kernel: ``linear``, or ``rbf``: Gaussian at the median distance of each space.
        seed: of the items that are drawn, halves and permutations.
        draws: number of permutations, and of halves up to 100.

    Raises:
        ValueError: no pairs, see `crossdistill.distance.samples.pairs`; a side that is constant; another kernel.
    """
    if kernel not in ("linear", "rbf"):
        raise ValueError(f"the kernel should be linear or rbf, not {kernel!r}")
    samples = pairs(source, target, groups)
    one, other = _kernel(samples.source, kernel, "source"), _kernel(samples.target, kernel, "target")
    rng = np.random.default_rng((seed, 6))
    chosen = several_per_group(samples, rng)
    found = [cka(_some(one, rows), _some(other, rows)) for rows in chosen]
    masks, factor = half_masks(samples.strata, min(draws, _HALVES), rng)
    parts = [one_per_group(samples.groups, rng)[mask] for mask in masks]
    halves = np.array([cka(_some(one, rows), _some(other, rows)) for rows in parts])
    value = float(np.mean(found))
    low, high = spread(value, halves, factor, lowest=-1.0, highest=1.0)
    mine, theirs = _some(one, chosen[0]), _some(other, chosen[0])
    permuted = np.array([hsic(mine, _some(theirs, rng.permutation(samples.count))) for _ in range(draws)])
    return Measured(
        name=f"{kernel}_cka", value=value, low=low, high=high, interval="random halves",
        p_value=permutation_p(hsic(mine, theirs), permuted), farther="lower", items=samples.items,
        note="decided by the leading principal components",
    )  # fmt: skip


def hsic(one: Floats, other: Floats) -> float:
    """The unbiased Hilbert-Schmidt independence criterion of two kernel matrices ``(n, n)``, n at least 4."""
    count = len(one)
    # Diagonals do not count; they are taken off the sums rather than copied away.
    first, second = np.diag(one), np.diag(other)
    rows, columns = one.sum(axis=1) - first, other.sum(axis=1) - second
    both = float(np.vdot(one, other) - first @ second)
    outer = float(rows.sum() * columns.sum()) / ((count - 1) * (count - 2))
    return (both + outer - 2 / (count - 2) * float(rows @ columns)) / (count * (count - 3))


def cka(one: Floats, other: Floats) -> float:
    """`hsic` over the root of both sides' own; 0 where chance makes one of these negative."""
    own = hsic(one, one), hsic(other, other)
    return min(1.0, hsic(one, other) / float(np.sqrt(own[0] * own[1]))) if min(own) > 0 else 0.0


def _kernel(vectors: Floats, kernel: str, name: str) -> Floats:
    centred = vectors - vectors.mean(axis=0)
    if float((centred**2).sum()) <= 1e-20 * float((vectors**2).sum()) + 1e-300:
        raise ValueError(f"all {name} vectors are the same: nothing can be aligned with them")
    if kernel == "linear":
        found: Floats = centred @ centred.T
        return found
    return gaussian(squared_distances(vectors, vectors), median_squared_distance(vectors))


def _some(matrix: Floats, rows: Ints) -> Floats:
    return matrix[np.ix_(rows, rows)]
