"""How well does one side predict the other? Ridge regression and retrieval with it, on held-out groups."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import rankdata

from crossdistill.distance.mean_discrepancy import between_groups, group_sums
from crossdistill.distance.measured import FOLDS, Measured, cross_validated, folds_p, permutation_p, with_bootstrap
from crossdistill.distance.ridge import Decomposed, Ridge, choose_penalty
from crossdistill.distance.samples import Samples, folds, one_per_group, pairs
from crossdistill.evaluation.intervals import Floats, Ints, proportion


@dataclass(frozen=True)
class CrossFit:
    """What is predicted of each source vector by a regression that was fitted without its group.

    Attributes:
        predicted: ``(n, d)``.
        baseline: mean of the source vectors that the regression was fitted to ``(n, d)``.
        fold: in which the item was held out ``(n,)``.
    """

    predicted: Floats
    baseline: Floats
    fold: Ints


def cross_fit(
    target: ArrayLike, source: ArrayLike, groups: ArrayLike | None = None, *, seed: int = 0, parts: int = FOLDS
) -> CrossFit:
    """Ridge regression of source vectors ``(n, d)`` on target features ``(n, e)``, cross-fitted over folds of groups.

    The penalty of each fit is chosen by cross-validation within its own items, on whole groups. Solved in the smaller
    of items and features. (Predictors come first here, as in regression.)

    Raises:
        ValueError: no pairs, see `crossdistill.distance.samples.pairs`.
    """
    samples = pairs(source, target, groups)
    rng = np.random.default_rng((seed, 7))
    # Rotated into the span of the outcomes, which changes no length and no fit, and takes at most n columns.
    span = Decomposed(samples.source)
    outcomes = span.left * span.singular
    fold = folds(samples.groups, parts, rng)
    predicted, baseline = np.empty_like(outcomes), np.empty_like(outcomes)
    for number in range(parts):
        rest, rows = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        features = Decomposed(samples.target[rest])
        penalty, _ = choose_penalty(features, outcomes[rest], folds(samples.groups[rest], parts, rng))
        fit = Ridge(features, outcomes[rest], penalty)
        predicted[rows], baseline[rows] = fit.predict(samples.target[rows]), fit.intercept
    return CrossFit(span.mean + predicted @ span.right.T, span.mean + baseline @ span.right.T, fold)


def out_of_fold(target: ArrayLike, source: ArrayLike, groups: ArrayLike | None = None, seed: int = 0) -> Floats:
    """The cross-fitted linear predictions ``(n, d)`` of the source vectors: see `cross_fit`."""
    return cross_fit(target, source, groups, seed=seed).predicted


def ridge_r2(
    source: ArrayLike, target: ArrayLike, groups: ArrayLike | None = None, *, seed: int = 0, draws: int = 200,
    fit: CrossFit | None = None,
) -> Measured:  # fmt: skip
    """The share of the source's variance that a linear map of the target's features predicts on held-out groups.

    Directions count by their variance: ``1 - sum |x - predicted|^2 / sum |x - mean|^2`` over all held-out items, with
    the mean of the items fitted to. The interval is around what fits to so many items find.

    Fails: it is a lower bound of what is linearly predictable, and a low one with few items (below 0 where there is
    nothing to find). It says nothing of what is predictable but not linearly so.

    Args:
        source: ``(n, d)``, what is predicted.
        target: ``(n, e)``, what it is predicted from.
        groups: ``(n,)``.
        seed: of folds and interval.
        draws: of the bootstrap.
        fit: from `cross_fit` of the same pairs, where it is at hand.

    Raises:
        ValueError: no pairs, see `crossdistill.distance.samples.pairs`; a constant source.
    """
    samples = pairs(source, target, groups)
    fit = fit or cross_fit(target, source, groups, seed=seed)
    error = ((samples.source - fit.predicted) ** 2).sum(axis=1)
    spread = ((samples.source - fit.baseline) ** 2).sum(axis=1)
    if not spread.sum() > 0:
        raise ValueError("all source vectors are the same: there is nothing to predict")
    weights = with_bootstrap(samples.strata, draws, np.random.default_rng((seed, 8)))
    sums = [np.bincount(samples.groups, weights=values) for values in (error, spread)]
    found = 1 - weights @ sums[0] / (weights @ sums[1])
    low, high = cross_validated(float(found[0]), found[1:], -np.inf, 1.0)
    return Measured(
        name="ridge_r2", value=float(found[0]), low=low, high=high, interval="cross-validation",
        farther="lower", items=samples.items, note="linear alone; low where many dimensions meet few items",
    )  # fmt: skip


def retrieval(
    source: ArrayLike, target: ArrayLike, groups: ArrayLike | None = None, *, seed: int = 0, draws: int = 200,
    fit: CrossFit | None = None,
) -> dict[str, Measured]:  # fmt: skip
    """Is the predicted source vector nearer to the partner than to others? ``retrieval_r1`` and ``retrieval_auc``.

    Each target item predicts a source vector (`cross_fit`); the gallery are the source vectors of its fold without
    others of its group; nearness is the cosine of both less the mean of the items fitted to. R@1 is the share of items
    whose partner is the nearest. The AUC is the probability that the partner is nearer than a random wrong item, 0.5 by
    chance, which is also the mean percentile rank. Ties count against the partner in R@1 and by half in the AUC.

    Fails: R@1 falls as the gallery grows, whatever the spaces, and compares across data sets only at the same number of
    items; the AUC does not depend on it, but near 1 it does not tell good from perfect.

    Args:
        source: ``(n, d)``.
        target: ``(n, e)``.
        groups: ``(n,)``.
        seed: of folds, interval and permutations.
        draws: of the bootstrap, and of permutations of partners (one item a group) within folds.
        fit: from `cross_fit` of the same pairs, where it is at hand.

    Raises:
        ValueError: no pairs, see `crossdistill.distance.samples.pairs`.
    """
    samples = pairs(source, target, groups)
    fit = fit or cross_fit(target, source, groups, seed=seed)
    rng = np.random.default_rng((seed, 9))
    cosine = _directions(fit.predicted - fit.baseline) @ _directions(samples.source - fit.baseline).T
    own = np.diag(cosine)[:, None]
    others = (fit.fold[:, None] == fit.fold) & (samples.groups[:, None] != samples.groups)
    beaten = np.where(others, (own > cosine) + 0.5 * (own == cosine), 0.0)
    first = (~(others & (cosine >= own)).any(axis=1)).astype(np.float64)
    r1 = proportion(first, samples.groups)
    weights = with_bootstrap(samples.strata, draws, rng)
    wins, compared = (group_sums(v, samples.groups, samples.groups, samples.count) for v in (beaten, others * 1.0))
    size = np.ones(samples.count, dtype=np.int64)
    auc = between_groups(wins, size, size, weights) / between_groups(compared, size, size, weights)
    low, high = cross_validated(float(auc[0]), auc[1:], 0.0, 1.0)
    gallery = float(others.sum(axis=1).mean()) + 1
    return {
        "retrieval_r1": Measured(
            name="retrieval_r1", value=r1.value, low=r1.low, high=r1.high, interval="wilson score", farther="lower",
            items=samples.items, note=f"falls as the gallery grows; chance is {1 / gallery:.3g}",
        ),
        "retrieval_auc": Measured(
            name="retrieval_auc", value=float(auc[0]), low=low, high=high, interval="cross-validation",
            farther="lower", p_value=_partners_permuted(cosine, samples, fit.fold, rng, draws), items=samples.items,
            note="chance is 0.5; does not tell good from perfect",
        ),
    }  # fmt: skip


def _directions(vectors: Floats) -> Floats:
    """Unit rows; a prediction that is the mean itself has no direction, and ties with all."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1.0)


def _partners_permuted(cosine: Floats, samples: Samples, fold: Ints, rng: np.random.Generator, draws: int) -> float:
    """The p-value of the AUC of one item a group, when partners within folds change."""
    items = one_per_group(samples.groups, rng)
    found = []
    for number in np.unique(fold):
        rows = items[fold[items] == number]
        ranks = rankdata(cosine[np.ix_(rows, rows)], axis=1)  # of each gallery item, for every query
        orders = [rng.permutation(len(rows)) for _ in range(draws)]
        permuted = np.array([float(ranks[np.arange(len(rows)), order].mean()) for order in orders])
        found.append(permutation_p(float(np.trace(ranks)) / len(rows), permuted))
    return folds_p(found)
