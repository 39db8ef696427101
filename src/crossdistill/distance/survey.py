"""Everything at once: what pairs in two spaces tell, and what needs one common space.

Time grows with the square of the number of pairs, and with its cube where there are more dimensions than pairs. From
some thousand pairs on, give a part of the groups.
"""

from __future__ import annotations

from numpy.typing import ArrayLike

from crossdistill.distance.alignment import kernel_alignment
from crossdistill.distance.canonical import canonical_correlation
from crossdistill.distance.geometry import SIDES, alignment, cone, effective_rank, modality_gap, uniformity
from crossdistill.distance.mean_discrepancy import MANY_WIDTHS, mean_discrepancy
from crossdistill.distance.measured import Measured
from crossdistill.distance.neighbours import NEIGHBOURS, mutual_neighbours
from crossdistill.distance.prediction import CrossFit, cross_fit, retrieval, ridge_r2
from crossdistill.distance.samples import pairs, two_samples
from crossdistill.distance.total_variation import proxy_a_distance, total_variation
from crossdistill.distance.transport import sinkhorn_divergence, sliced_wasserstein


def paired_distances(
    source: ArrayLike, target: ArrayLike, groups: ArrayLike | None = None, seed: int = 0, draws: int = 200, *,
    fit: CrossFit | None = None,
) -> dict[str, Measured]:  # fmt: skip
    """All that needs pairs alone, which may be in two different spaces.

    ``cca``, ``ridge_r2``, ``retrieval_r1``, ``retrieval_auc``, ``linear_cka``, ``rbf_cka``, ``mutual_neighbours``,
    ``effective_rank_source``, ``effective_rank_target``.

    Args:
        source: ``(n, d)``.
        target: ``(n, e)``.
        groups: ``(n,)``.
        seed: of all that is random.
        draws: of bootstraps and permutations.
        fit: from `crossdistill.distance.prediction.cross_fit` of the same pairs, where it is at hand.

    Raises:
        ValueError: no pairs, see `crossdistill.distance.samples.pairs`; a side that is constant or has a zero vector.
    """
    samples = pairs(source, target, groups)
    x, y = samples.source, samples.target
    fit = fit or cross_fit(y, x, groups, seed=seed)
    neighbours = min(NEIGHBOURS, samples.count // 2)
    found = [
        canonical_correlation(x, y, groups, seed=seed, draws=draws),
        ridge_r2(x, y, groups, seed=seed, draws=draws, fit=fit),
        *retrieval(x, y, groups, seed=seed, draws=draws, fit=fit).values(),
        kernel_alignment(x, y, groups, kernel="linear", seed=seed, draws=draws),
        kernel_alignment(x, y, groups, kernel="rbf", seed=seed, draws=draws),
        mutual_neighbours(x, y, groups, neighbours=neighbours, seed=seed, draws=draws),
        *(effective_rank(v, groups, side=s, seed=seed, draws=draws) for s, v in zip(SIDES, (x, y), strict=True)),
    ]
    return {each.name: each for each in found}


def shared_distances(
    source: ArrayLike, target: ArrayLike, groups: ArrayLike | None = None, seed: int = 0, draws: int = 200, *,
    transport: bool = True,
) -> dict[str, Measured]:  # fmt: skip
    """All that needs pairs in one common space.

    ``total_variation``, ``a_distance``, ``mmd``, ``mmd_multi``, ``sliced_wasserstein``, ``sinkhorn``: of the vectors as
    they are. ``modality_gap``, ``cone_source``, ``cone_target``, ``alignment``, ``uniformity_source``,
    ``uniformity_target``: of their directions.

    Args:
        source: ``(n, d)``.
        target: ``(n, d)``.
        groups: ``(n,)``.
        seed: of all that is random.
        draws: of bootstraps and permutations.
        transport: whether to measure what needs POT.

    Raises:
        MissingDependencyError: POT is not installed, and ``transport`` is not off.
        ValueError: no pairs in one space, see `crossdistill.distance.samples.two_samples`; a zero vector.
    """
    samples = two_samples(source, target, groups)
    x, y = samples.source, samples.target
    found = [
        total_variation(x, y, groups, seed=seed),
        proxy_a_distance(x, y, groups, seed=seed, draws=draws),
        mean_discrepancy(x, y, groups, seed=seed, draws=draws),
        mean_discrepancy(x, y, groups, factors=MANY_WIDTHS, seed=seed, draws=draws),
    ]
    if transport:
        found += [
            sliced_wasserstein(x, y, groups, seed=seed, draws=draws),
            sinkhorn_divergence(x, y, groups, seed=seed, draws=draws),
        ]
    found += [modality_gap(x, y, groups, seed=seed, draws=draws), alignment(x, y, groups, seed=seed, draws=draws)]
    for side, vectors in zip(SIDES, (x, y), strict=True):
        found.append(cone(vectors, groups, side=side, seed=seed, draws=draws))
        found.append(uniformity(vectors, groups, side=side, seed=seed, draws=draws))
    return {each.name: each for each in found}
