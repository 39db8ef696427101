"""Maximum mean discrepancy: the distance between two samples' means in the space of a kernel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import csr_array

from crossdistill.distance.kernels import gaussian, median_squared_distance, squared_distances
from crossdistill.distance.measured import Measured, bootstrap_weights, permutation_p, quantiles
from crossdistill.distance.samples import Samples, two_samples
from crossdistill.evaluation.intervals import Floats, Ints

MANY_WIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)  # as in `crossdistill.objectives.mmd`


def mean_discrepancy(
    source: ArrayLike, target: ArrayLike, groups: ArrayLike | None = None, *, target_groups: ArrayLike | None = None,
    factors: Sequence[float] = (1.0,), width: float | None = None, seed: int = 0, draws: int = 200,
) -> Measured:  # fmt: skip
    """MMD squared, without bias, with Gaussian kernels ``exp(-||x - y||^2 / (2 sigma^2))``.

    Source: Gretton et al., JMLR 13, 2012, lemma 6. Pairs of items within a group do not count (nor do partners), so
    groups leave it without bias, and it may be negative. The interval is the bootstrap over groups. The p-value is of
    permutations that keep groups whole: of the two sides of each group where there are pairs, which takes (x, y) and
    (y, x) to be equally likely under the hypothesis; of the groups' sides otherwise.

    Fails: at the median heuristic's width it loses power as dimensions grow (Ramdas et al., arXiv 1406.2083): all
    distances become alike, and the value goes to zero where the difference does not. It has no unit that
    compares across data sets, as the width changes with them.

    Args:
        source: ``(n, d)``.
        target: ``(m, d)``.
        groups: see `crossdistill.distance.samples.two_samples`, as is ``target_groups``.
        target_groups: ``(m,)`` for samples that are not paired.
        factors: of the width; the kernel is the mean over them.
        width: sigma^2; the median of squared distances between all items of both sides without it.
        seed: of interval and permutations.
        draws: number of both.

    Raises:
        ValueError: samples that are no two samples of one space, see there; a width that is not positive.
    """
    samples = two_samples(source, target, groups, target_groups)
    pooled = np.concatenate([samples.source, samples.target])
    if not factors or min(factors) <= 0 or (width is not None and width <= 0):
        raise ValueError(f"the width {width} and its factors {list(factors)} should be positive")
    scale = width if width is not None else median_squared_distance(pooled)

    def kernel(x: Floats, y: Floats) -> Floats:
        distances = squared_distances(x, y)
        total = gaussian(distances, factors[0] * scale)
        for factor in factors[1:]:
            total += gaussian(distances, factor * scale)
        return total / len(factors)

    x, y = samples.source, samples.target
    found = discrepancy(samples, kernel(x, x), kernel(y, y), kernel(x, y), np.random.default_rng((seed, 3)), draws)
    low, high = quantiles(found.value, found.drawn)
    return Measured(
        name="mmd" if len(factors) == 1 else "mmd_multi", value=found.value, low=low, high=high, interval="bootstrap",
        p_value=found.p_value, farther="higher", items=samples.items,
        note="squared; goes to zero as dimensions grow, and has no unit of its own",
    )  # fmt: skip


@dataclass(frozen=True)
class Discrepancy:
    """A squared discrepancy, its bootstrap draws ``(draws,)`` and its p-value."""

    value: float
    drawn: Floats
    p_value: float


def discrepancy(
    samples: Samples, xx: Floats, yy: Floats, xy: Floats, rng: np.random.Generator, draws: int
) -> Discrepancy:
    """The unbiased squared discrepancy of any kernel.

    Args:
        samples: two samples.
        xx: kernel within the source ``(n, n)``.
        yy: within the target ``(m, m)``.
        xy: between them ``(n, m)``.
        rng: source of chance.
        draws: of bootstrap and permutations each.
    """
    mine, theirs, count = samples.groups, samples.target_groups, samples.count
    # All that follows needs sums over groups alone.
    sums = [group_sums(k, a, b, count) for k, a, b in ((xx, mine, mine), (yy, theirs, theirs), (xy, mine, theirs))]
    x_size, y_size = np.bincount(mine, minlength=count), np.bincount(theirs, minlength=count)

    def statistic(weights: Floats) -> Floats:
        within = between_groups(sums[0], x_size, x_size, weights) + between_groups(sums[1], y_size, y_size, weights)
        return within - 2 * between_groups(sums[2], x_size, y_size, weights)

    value = float(statistic(np.ones((1, count)))[0])
    drawn = statistic(bootstrap_weights(samples.strata, draws, rng))
    if samples.paired:
        # Swapping the sides of a group turns the sign of its terms: one quadratic form for all permutations.
        form = sums[0] + sums[1] - sums[2] - sums[2].T
        signs = rng.choice(np.array([-1.0, 1.0]), size=(draws, count))
        permuted = between_groups(form, x_size, x_size, signs, np.ones((1, count)))
    else:
        pooled, size = sums[0] + sums[1] + sums[2] + sums[2].T, x_size + y_size
        first = np.zeros((draws, count))
        for row in first:
            row[rng.permutation(count)[: len(samples.strata[0])]] = 1
        one, other = (between_groups(pooled, size, size, side) for side in (first, 1 - first))
        # What is between the two sides: all of it less what is within.
        whole = pooled.sum() - np.trace(pooled)
        total = whole - sum(_quadratic(pooled, side) for side in (first, 1 - first))
        permuted = one + other - total / ((first @ size) * ((1 - first) @ size))
    return Discrepancy(value, drawn, permutation_p(value, permuted))


def group_sums(values: Floats, rows: Ints, columns: Ints, count: int) -> Floats:
    """Sums of ``values`` ``(n, m)`` over the items of each pair of groups ``(G, G)``."""
    left, right = (csr_array((np.ones(len(g)), (g, np.arange(len(g)))), shape=(count, len(g))) for g in (rows, columns))
    found: Floats = left @ values @ right.T
    return found


def _quadratic(form: Floats, weights: Floats) -> Floats:
    """``w^T form w`` without the diagonal, of each row w ``(draws,)``."""
    found: Floats = ((weights @ form) * weights).sum(axis=1) - weights**2 @ np.diag(form)
    return found


def between_groups(sums: Floats, rows: Ints, columns: Ints, weights: Floats, counted: Floats | None = None) -> Floats:
    """Weighted means over pairs of items of different groups ``(draws,)``.

    Args:
        sums: over pairs of groups ``(G, G)``.
        rows: items in each group of the first side ``(G,)``.
        columns: of the second side ``(G,)``.
        weights: of the groups ``(draws, G)``.
        counted: weights that the number of pairs is counted with, where they are others.
    """
    used = weights if counted is None else counted
    pairs = (used @ rows) * (used @ columns) - used**2 @ (rows * columns)
    found: Floats = _quadratic(sums, weights) / pairs
    return found
