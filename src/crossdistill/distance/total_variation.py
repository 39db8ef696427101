"""Total variation from below, with confidence, and the proxy A-distance: can a classifier tell both sides apart?

    TV(P, Q) = sup over sets A of P(A) - Q(A), between 0 and 1.

Estimates by plugging in densities are wrong in more than a few dimensions, and easily beyond 1 where a histogram
forgets the volume of its bins. Here the set A is what a classifier takes for the source, so nothing can exceed 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import beta

from crossdistill.distance.measured import FOLDS, LEVEL, Measured, cross_validated, with_bootstrap
from crossdistill.distance.samples import Samples, folds, one_per_group, two_samples
from crossdistill.distance.separator import Family, Separator
from crossdistill.evaluation.intervals import Floats, Ints

_PARTS = 2  # of the bound: each part is held out once
_SMALLEST_P = 1e-9


@dataclass(frozen=True)
class _Part:
    """Held-out rows of both sides, and whether a classifier of the others takes them for the source (0 or 1)."""

    source_rows: Ints
    target_rows: Ints
    source: Floats
    target: Floats


def _held_out(samples: Samples, parts: int, families: tuple[Family, ...], rng: np.random.Generator) -> list[_Part]:
    part = np.empty(samples.count, dtype=np.int64)
    for groups in samples.strata:  # both sides are in all parts
        part[groups] = folds(groups, parts, rng)
    found = []
    for number in range(parts):
        mine, theirs = samples.of_groups(part != number)
        rows = np.concatenate([samples.source[mine], samples.target[theirs]])
        side = np.arange(len(rows)) < len(mine)
        groups = np.concatenate([samples.groups[mine], samples.target_groups[theirs]])
        separator = Separator(rows, side, groups, families, rng)
        mine, theirs = samples.of_groups(part == number)
        above = [
            (separator.scores(vectors) > separator.threshold).astype(np.float64)
            for vectors in (samples.source[mine], samples.target[theirs])
        ]
        found.append(_Part(mine, theirs, *above))
    return found


def total_variation(
    source: ArrayLike, target: ArrayLike, groups: ArrayLike | None = None, *, target_groups: ArrayLike | None = None,
    level: float = LEVEL, seed: int = 0,
) -> Measured:  # fmt: skip
    """The total variation distance: an estimate, and a lower bound that holds with the given confidence.

    The idea is that of Michel, Naef and Meinshausen, arXiv 2005.06006, with an exact bound at one threshold. The groups
    are divided into two parts. A classifier and its threshold t are fitted on one; on the other, for A = {score > t},

        TV(P, Q) >= P(A) - Q(A) >= L(P(A)) - U(Q(A)).

    *Why that is valid*: given the first part, A is fixed. One item is drawn from each group of the second part, without
    looking at scores, so those of one side are independent, and the number of them in A is binomial. L and U are
    Clopper-Pearson bounds, each wrong with probability at most (1 - level) / 4. The union bound over the two makes the
    difference wrong with at most (1 - level) / 2, whatever the dependence between the partners of a pair. Then the
    parts change roles, and the larger of the two bounds is taken: the union bound again, 1 - level in all. P and Q
    weigh all groups alike.

    There is no upper bound without assumptions (two samples can always come from distributions with disjoint supports),
    so ``high`` is 1. The ``value`` is the mean of P(A) - Q(A) over both parts, without bias for these A, which on
    average is below the true distance. The p-value is the smallest 1 - level at which the bound is above zero.

    Fails: it saturates, as nothing beyond a perfect classifier is farther. In high dimension with few items the
    classifier finds little of a difference that is there, and the bound is valid but loose. With G groups it cannot
    certify more than about 1 - 18 / G.

    Args:
        source: ``(n, d)``.
        target: ``(m, d)``.
        groups: see `crossdistill.distance.samples.two_samples`, as is ``target_groups``.
        target_groups: ``(m,)`` for samples that are not paired.
        level: confidence of the bound.
        seed: of the parts and the items that are drawn.

    Raises:
        ValueError: samples that are no two samples of one space, see there.
    """
    samples = two_samples(source, target, groups, target_groups)
    rng = np.random.default_rng((seed, 1))
    parts = _held_out(samples, _PARTS, ("linear", "gaussian"), rng)
    differences, counts = [], []
    for part in parts:
        mine, theirs = samples.groups[part.source_rows], samples.target_groups[part.target_rows]
        differences.append(_group_mean(part.source, mine) - _group_mean(part.target, theirs))
        one, other = one_per_group(mine, rng), one_per_group(theirs, rng)
        counts.append((int(part.source[one].sum()), len(one), int(part.target[other].sum()), len(other)))
    low = _certified(counts, 1 - level)
    return Measured(
        name="total_variation", value=max(low, float(np.mean(differences))), low=low, high=1.0, level=level,
        interval="confidence bound", p_value=_p_value(counts), farther="higher", items=samples.items,
        note="saturates at 1; loose where many dimensions meet few items",
    )  # fmt: skip


def _group_mean(outcomes: Floats, groups: Ints) -> float:
    _, number, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    return float((np.bincount(number, weights=outcomes) / sizes).mean())


def _certified(counts: list[tuple[int, int, int, int]], wrong: float) -> float:
    """The largest of the parts' bounds, at least 0; wrong with at most the given probability."""
    each = wrong / (2 * len(counts))
    bounds = []
    for mine, source, theirs, target in counts:
        low = float(beta.ppf(each, mine, source - mine + 1)) if mine else 0.0
        high = float(beta.ppf(1 - each, theirs + 1, target - theirs)) if theirs < target else 1.0
        bounds.append(low - high)
    return max(0.0, *bounds)


def _p_value(counts: list[tuple[int, int, int, int]]) -> float:
    low, high = np.log(_SMALLEST_P), 0.0  # of the logarithm, by bisection: the bound grows with what may be wrong
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (low, middle) if _certified(counts, float(np.exp(middle))) > 0 else (middle, high)
    return float(np.exp(high))


def proxy_a_distance(
    source: ArrayLike, target: ArrayLike, groups: ArrayLike | None = None, *, target_groups: ArrayLike | None = None,
    seed: int = 0, draws: int = 200,
) -> Measured:  # fmt: skip
    """``2 (1 - 2 error)`` of a linear classifier on held-out groups: 0 where it is no use, 2 where it is never wrong.

    Source: Ben-David et al., NeurIPS 2006; Ganin et al., JMLR 17, 2016, for the name. The error is the mean of both
    sides' errors, on five folds. The interval is around what classifiers of so many items
    find, which is less than the best one would.

    Fails: it knows nothing but one hyperplane: N(0, I) and N(0, 16 I) in the plane are at about 0.6, where the best set
    has 1.6. It saturates at 2.

    Args:
        source: ``(n, d)``.
        target: ``(m, d)``.
        groups: see `crossdistill.distance.samples.two_samples`, as is ``target_groups``.
        target_groups: ``(m,)`` for samples that are not paired.
        seed: of folds and interval.
        draws: of the bootstrap.

    Raises:
        ValueError: samples that are no two samples of one space, see there.
    """
    samples = two_samples(source, target, groups, target_groups)
    rng = np.random.default_rng((seed, 2))
    wrong, theirs_wrong = np.empty(len(samples.source)), np.empty(len(samples.target))
    for part in _held_out(samples, FOLDS, ("linear",), rng):
        wrong[part.source_rows], theirs_wrong[part.target_rows] = 1 - part.source, part.target
    weights = with_bootstrap(samples.strata, draws, rng)
    errors = []
    for outcome, numbers in ((wrong, samples.groups), (theirs_wrong, samples.target_groups)):
        sums = np.bincount(numbers, weights=outcome, minlength=samples.count)
        errors.append(weights @ sums / (weights @ np.bincount(numbers, minlength=samples.count)))
    distances = 2 * (1 - errors[0] - errors[1])
    low, high = cross_validated(float(distances[0]), distances[1:], -2.0, 2.0)
    return Measured(
        name="a_distance", value=float(distances[0]), low=low, high=high, interval="cross-validation",
        farther="higher",
        items=samples.items, note="sees one hyperplane's worth of difference; saturates at 2",
    )  # fmt: skip
