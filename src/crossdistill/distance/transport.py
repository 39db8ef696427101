"""Distances of optimal transport, through POT (https://pythonot.github.io): sliced Wasserstein and Sinkhorn divergence.

Both are larger between samples than between the distributions they come from. To first order this falls with 1/n, so
what random halves have more than the full sample tells how much it is, and it is taken off.
"""

from __future__ import annotations

import math
from types import ModuleType

import numpy as np
from numpy.typing import ArrayLike

from crossdistill.distance.kernels import median_squared_distance, squared_distances
from crossdistill.distance.measured import Measured, half_masks, permutation_p, spread
from crossdistill.distance.samples import Samples, two_samples
from crossdistill.errors import MissingDependencyError
from crossdistill.evaluation.intervals import Floats

# Of the Sinkhorn divergence, relative to the median squared distance. The usual tenth or less is biased beyond use in
# more than a few dimensions: benchmarks/theory/estimators.py has both.
REGULARISATION = 0.5
_HALVES = 60
_SINKHORN_HALVES = 30
_ITERATIONS = 1000
_PRECISION = 1e-5  # of the marginals
_STEEP = 600.0  # costs over regularisation above which exp(-cost) leaves float64


def sliced_wasserstein(
    source: ArrayLike, target: ArrayLike, groups: ArrayLike | None = None, *, target_groups: ArrayLike | None = None,
    directions: int = 128, seed: int = 0, draws: int = 200,
) -> Measured:  # fmt: skip
    """Sliced Wasserstein-2: the root mean square, over directions, of the distance between projections.

    Source: Bonneel et al., Journal of Mathematical Imaging and Vision 51, 2015. In the units of the vectors. Directions
    come as random orthonormal bases. What the difference of means contributes is known without them, ``|difference|^2 /
    d``, so only the rest is sampled. The interval has the spread of at most 60 random halves and of the directions; the
    permutations are those of `crossdistill.distance.mean_discrepancy.mean_discrepancy`.

    Fails: it shrinks with dimension. A shift by mu is at ``|mu| / sqrt(d)``, and a difference in a few of many
    directions is averaged away. Near zero the root is unsteady: trust the p-value.

    Args:
        source: ``(n, d)``.
        target: ``(m, d)``.
        groups: see `crossdistill.distance.samples.two_samples`, as is ``target_groups``.
        target_groups: ``(m,)`` for samples that are not paired.
        directions: number of projections.
        seed: of directions, interval and permutations.
        draws: number of permutations, and of halves up to 60.

    Raises:
        MissingDependencyError: POT is not installed.
        ValueError: samples that are no two samples of one space, see there; fewer than 2 directions.
    """
    ot, samples = _pot(), two_samples(source, target, groups, target_groups)
    if directions < 2:
        raise ValueError(f"{directions} directions are too few: their spread is part of the interval")
    rng = np.random.default_rng((seed, 4))
    axes = _directions(samples.source.shape[1], directions, rng)
    x, y = samples.source @ axes, samples.target @ axes

    def per_direction(mask: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> Floats:
        mine, theirs = samples.of_groups(mask)
        squares = _on_lines(ot, x[mine], y[theirs])
        difference = samples.source[mine].mean(axis=0) - samples.target[theirs].mean(axis=0)
        found: Floats = squares - (difference @ axes) ** 2 + difference @ difference / len(difference)
        return found

    whole = per_direction(np.ones(samples.count, dtype=bool))
    masks, factor = half_masks(samples.strata, min(draws, _HALVES), rng)
    halves = np.array([float(per_direction(mask).mean()) for mask in masks])
    square = float(whole.mean()) - factor * (float(halves.mean()) - float(whole.mean()))
    extra = float(whole.var(ddof=1)) / directions
    low, high = (math.sqrt(max(0.0, end)) for end in spread(square, halves, factor, extra=extra))
    permuted = np.array([float(_on_lines(ot, *_swapped(samples, x, y, rng)).mean()) for _ in range(draws)])
    observed = float(_on_lines(ot, x, y).mean())
    return Measured(
        name="sliced_wasserstein", value=math.sqrt(max(0.0, square)), low=low, high=high, interval="random halves",
        p_value=permutation_p(observed, permuted), farther="higher", items=samples.items,
        note="in the vectors' units; a shift shrinks by the root of the number of dimensions",
    )  # fmt: skip


def sinkhorn_divergence(
    source: ArrayLike, target: ArrayLike, groups: ArrayLike | None = None, *, target_groups: ArrayLike | None = None,
    regularisation: float | None = None, seed: int = 0, draws: int = 200,
) -> Measured:  # fmt: skip
    """The Sinkhorn divergence ``OT(P, Q) - OT(P, P) / 2 - OT(Q, Q) / 2``, OT of squared distances with a penalty.

    Source: Feydy et al., arXiv 1810.08278. In the units of the vectors squared; between the squared Wasserstein-2
    distance (no penalty) and the squared distance of the means (infinite penalty), roughly. The interval has the spread
    of at most 30 random halves. There is no test: permutations would take minutes.

    Fails: it depends on the penalty, which depends on the data unless it is given. In high dimension all distances
    become alike, and what is left at this penalty is little more than the squared distance of the means; smaller
    penalties look at more, and are biased upwards by many times the truth.

    Args:
        source: ``(n, d)``.
        target: ``(m, d)``.
        groups: see `crossdistill.distance.samples.two_samples`, as is ``target_groups``.
        target_groups: ``(m,)`` for samples that are not paired.
        regularisation: weight of the penalty KL(plan | product), in the units of squared distances; half of the median
            squared distance between all items of both sides without it.
        seed: of the interval.
        draws: number of halves, up to 30.

    Raises:
        MissingDependencyError: POT is not installed.
        ValueError: samples that are no two samples of one space, see there; a penalty that is not positive.
    """
    ot, samples = _pot(), two_samples(source, target, groups, target_groups)
    x, y = samples.source, samples.target
    if regularisation is not None and regularisation <= 0:
        raise ValueError(f"the regularisation should be positive, not {regularisation}")
    weight = regularisation or REGULARISATION * median_squared_distance(np.concatenate([x, y]))
    xx, yy, xy = squared_distances(x, x), squared_distances(y, y), squared_distances(x, y)

    def divergence(mask: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> float:
        mine, theirs = samples.of_groups(mask)
        within = _entropic(ot, xx[np.ix_(mine, mine)], weight) + _entropic(ot, yy[np.ix_(theirs, theirs)], weight)
        return _entropic(ot, xy[np.ix_(mine, theirs)], weight) - within / 2

    whole = divergence(np.ones(samples.count, dtype=bool))
    masks, factor = half_masks(samples.strata, min(draws, _SINKHORN_HALVES), np.random.default_rng((seed, 5)))
    halves = np.array([divergence(mask) for mask in masks])
    value = whole - factor * (float(halves.mean()) - whole)
    low, high = spread(value, halves, factor)
    return Measured(
        name="sinkhorn", value=value, low=low, high=high, interval="random halves", farther="higher",
        items=samples.items, note="in the vectors' units squared; depends on its penalty",
    )  # fmt: skip


def _pot() -> ModuleType:
    try:
        import ot
    except ImportError as error:
        raise MissingDependencyError(
            "Distances of optimal transport need the package POT.", fix="pip install 'crossdistill[theory]'"
        ) from error
    found: ModuleType = ot
    return found


def _directions(dimensions: int, count: int, rng: np.random.Generator) -> Floats:
    """Random unit vectors as columns ``(d, count)``, orthogonal within each block of d of them."""
    size = min(dimensions, count)
    bases, _ = np.linalg.qr(rng.standard_normal((-(-count // size), dimensions, size)))
    return np.concatenate(list(bases), axis=1)[:, :count]


def _on_lines(ot: ModuleType, x: Floats, y: Floats) -> Floats:
    """Squared Wasserstein-2 distances ``(L,)`` between the columns of ``(n, L)`` and ``(m, L)``."""
    if len(x) != len(y):
        found: Floats = ot.wasserstein_1d(x, y, p=2)
        return found
    # Of as many items the sorted ones belong together. Sorting contiguous rows takes a third of POT's time.
    one, other = (np.sort(np.ascontiguousarray(side.T), axis=1) for side in (x, y))
    squares: Floats = ((one - other) ** 2).mean(axis=1)
    return squares


def _swapped(samples: Samples, x: Floats, y: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Projections ``(n, L)`` and ``(m, L)`` with the sides of whole groups permuted."""
    if samples.paired:
        swap = (rng.random(samples.count) < 0.5)[samples.groups][:, None]
        return np.where(swap, y, x), np.where(swap, x, y)
    first = np.isin(np.arange(samples.count), rng.permutation(samples.count)[: len(samples.strata[0])])
    both = np.concatenate([x, y])
    mine = first[np.concatenate([samples.groups, samples.target_groups])]
    return both[mine], both[~mine]


def _entropic(ot: ModuleType, cost: Floats, weight: float) -> float:
    """The least ``<plan, cost> + weight KL(plan | product)``, from its scalings u and v."""
    rows, columns = (np.full(size, 1 / size) for size in cost.shape)
    steep = float(cost.max()) > _STEEP * weight
    with np.errstate(over="ignore"):  # POT also gives the scalings themselves, which may be too large
        _, log = ot.sinkhorn(
            rows, columns, cost, weight, method="sinkhorn_log" if steep else "sinkhorn", numItermax=_ITERATIONS,
            stopThr=_PRECISION, log=True, warn=False,
        )  # fmt: skip
    u, v = (log["log_u"], log["log_v"]) if steep else (np.log(log["u"]), np.log(log["v"]))
    return weight * float(u.mean() + v.mean() + math.log(cost.shape[0]) + math.log(cost.shape[1]))
