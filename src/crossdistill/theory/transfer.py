"""What a small distance between the modalities means for a task: nearest-neighbour rules and margin classifiers.

Equation numbers are those of docs/theory.md. Every loss lies in [0, 1].
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import linear_sum_assignment

from crossdistill.theory.finite import Floats
from crossdistill.theory.vectors import positive, whole_numbers


def expected_loss(probabilities: ArrayLike, losses: ArrayLike) -> Floats:
    """``sum_j p(j|i) l_ij`` (Eq. 20), ``(n, N)`` twice to ``(n,)``; two soft labels give ``l_ij = 1 - <y_i, y_j>``.

    Raises:
        ValueError: the shapes differ, or a loss is outside [0, 1].
    """
    p, values = np.asarray(probabilities, dtype=np.float64), np.asarray(losses, dtype=np.float64)
    if p.shape != values.shape or p.ndim != 2:
        raise ValueError(f"expected (n, N) twice, received {p.shape} and {values.shape}")
    found: Floats = (p * _unit_interval(values, what="losses")).sum(axis=1)
    return found


def transferred_error(errors: ArrayLike, tv: ArrayLike) -> Floats:
    """``min(1, err_A(i) + TV_i) >= err_B(i)`` (Eq. 22), ``(n,)``; for any loss in [0, 1].

    Raises:
        ValueError: a value is outside [0, 1].
    """
    both = _unit_interval(errors, what="errors") + _unit_interval(tv, what="tv")
    found: Floats = np.minimum(both, 1.0)
    return found


def vote_margin(probabilities: ArrayLike, candidate_labels: ArrayLike, labels: ArrayLike) -> Floats:
    """Vote of the anchor's class minus the largest of another class (Eq. 24), ``(n, N)`` to ``(n,)``.

    A hard vote is right where it is positive; a tie counts as wrong.

    Raises:
        ValueError: shapes do not fit together.
    """
    p = np.asarray(probabilities, dtype=np.float64)
    if p.ndim != 2:
        raise ValueError(f"probabilities: expected (n, N), received {p.shape}")
    own, of = whole_numbers(labels, len(p), what="labels"), whole_numbers(candidate_labels, p.shape[1], what="labels")
    names = np.unique(np.concatenate([own, of]))
    votes = np.stack([p[:, of == name].sum(axis=1) for name in names], axis=1)
    return margins(votes, np.searchsorted(names, own)) if len(names) > 1 else votes[:, 0]


def vote_error_certificate(margin_source: ArrayLike, tv: ArrayLike) -> Floats:
    """1 where the target's hard vote may be wrong, ``margin_A(i) <= 2 TV_i`` (Eq. 25), else 0; ``(n,)``.

    Raises:
        ValueError: the shapes differ.
    """
    margin, distance = np.asarray(margin_source, dtype=np.float64), np.asarray(tv, dtype=np.float64)
    if margin.shape != distance.shape:
        raise ValueError(f"expected one shape, received {margin.shape} and {distance.shape}")
    return (margin <= 2 * distance).astype(np.float64)


def vote_error_bound(margin_source: ArrayLike, mean_tv: float, gamma: float) -> float:
    """Hard-vote error of the target by the mean TV alone: ``share(margin_A <= gamma) + 2 mean TV / gamma`` (Eq. 26).

    Raises:
        ValueError: gamma is not positive, or the mean is outside [0, 1].
    """
    mean = float(_unit_interval(mean_tv, what="mean_tv"))
    share = float((np.asarray(margin_source, dtype=np.float64) <= positive(gamma, what="gamma")).mean())
    return min(1.0, share + 2 * mean / gamma)


def margins(scores: ArrayLike, labels: ArrayLike) -> Floats:
    """``s_y - max_{y' != y} s_y'`` (Eq. 27), scores ``(n, k)`` and class numbers ``(n,)`` to ``(n,)``.

    Raises:
        ValueError: shapes do not fit together, fewer than two classes, or a label outside [0, k).
    """
    table = np.array(scores, dtype=np.float64)
    if table.ndim != 2 or table.shape[1] < 2:
        raise ValueError(f"scores: expected (n, k) with k >= 2, received {table.shape}")
    numbers = whole_numbers(labels, len(table), what="labels")
    if len(numbers) and not 0 <= numbers.min() <= numbers.max() < table.shape[1]:
        raise ValueError(f"labels: expected class numbers in [0, {table.shape[1]})")
    rows = np.arange(len(table))
    own = table[rows, numbers].copy()
    table[rows, numbers] = -np.inf
    found: Floats = own - table.max(axis=1)
    return found


def margin_lipschitz(weights: ArrayLike) -> float:
    """``max_{y != y'} |w_y - w_y'|`` (Eq. 28) of weights ``(k, d)``: how fast a margin changes with the vector.

    Raises:
        ValueError: fewer than two classes.
    """
    rows = np.asarray(weights, dtype=np.float64)
    if rows.ndim != 2 or len(rows) < 2:
        raise ValueError(f"weights: expected (k, d) with k >= 2, received {rows.shape}")
    return max(float(np.sqrt(((rows[y + 1 :] - rows[y]) ** 2).sum(axis=1)).max()) for y in range(len(rows) - 1))


def ramp(margin: ArrayLike, gamma: float) -> Floats:
    """The ramp loss (Eq. 29): 1 for margins up to 0, 0 from gamma on, linear between; so ``1/gamma``-Lipschitz.

    Raises:
        ValueError: gamma is not positive.
    """
    found: Floats = np.clip(1 - np.asarray(margin, dtype=np.float64) / positive(gamma, what="gamma"), 0.0, 1.0)
    return found


def margin_shift(errors: ArrayLike, lipschitz: float, gamma: float) -> Floats:
    """``min(1, L eps_i / gamma)`` (Eq. 30), ``(n,)``: by how much the 0-1 loss on the target can exceed the ramp loss.

    Raises:
        ValueError: an error is negative, or gamma is not positive.
    """
    values = np.asarray(errors, dtype=np.float64)
    if not (values >= 0).all() or lipschitz < 0:
        raise ValueError("expected distances and a Lipschitz constant >= 0")
    found: Floats = np.minimum(values * (lipschitz / positive(gamma, what="gamma")), 1.0)
    return found


def coupling_shift(
    source: ArrayLike,
    target: ArrayLike,
    *,
    lipschitz: float,
    gamma: float,
    source_labels: ArrayLike | None = None,
    target_labels: ArrayLike | None = None,
) -> float:
    """The same without pairs (Eq. 32): the cheapest matching of n source with n target vectors ``(n, d)``.

    Costs ``min(1, L |z - z'| / gamma + [y != y'])``, a Wasserstein distance with a bounded cost; never above the mean
    of :func:`margin_shift` over pairs of equal label. Takes O(n^2) memory and O(n^3) time.

    Raises:
        ValueError: the shapes differ, or labels are given for one side alone.
    """
    first, second = np.asarray(source, dtype=np.float64), np.asarray(target, dtype=np.float64)
    if first.shape != second.shape or first.ndim != 2:
        raise ValueError(f"expected (n, d) twice, received {first.shape} and {second.shape}")
    if (source_labels is None) != (target_labels is None):
        raise ValueError("expected labels of both sides or of neither")
    distance = np.stack([np.sqrt(((second - row) ** 2).sum(axis=1)) for row in first])
    cost = distance * (lipschitz / positive(gamma, what="gamma"))
    if source_labels is not None and target_labels is not None:
        one = whole_numbers(source_labels, len(first), what="source_labels")
        other = whole_numbers(target_labels, len(second), what="target_labels")
        cost = cost + (one[:, None] != other[None, :])
    cost = np.minimum(cost, 1.0)
    rows, columns = linear_sum_assignment(cost)
    return float(cost[rows, columns].mean())


def _unit_interval(values: ArrayLike, *, what: str) -> Floats:
    found = np.asarray(values, dtype=np.float64)
    if not ((found >= -1e-9) & (found <= 1 + 1e-9)).all():
        raise ValueError(f"{what}: expected values in [0, 1]")
    return np.clip(found, 0.0, 1.0)
