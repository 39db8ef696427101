"""Ridge regression for all penalties at once, in the smaller of both dimensions, cross-validated without refits."""

from __future__ import annotations

import numpy as np

from crossdistill.evaluation.intervals import Floats, Ints

PENALTIES = 10.0 ** np.arange(-5, 4)  # relative to the total variance of the features
_ZERO = 1e-10  # share of the largest variance below which a direction is rounding error


class Decomposed:
    """Features with their mean taken off, as ``U diag(s) V^T``: the thin singular value decomposition.

    By the eigenvectors of the smaller Gram matrix, which takes a fraction of the time of an SVD.

    Attributes:
        mean: ``(p,)``.
        left: U ``(n, r)``, orthogonal to a constant.
        singular: s ``(r,)``, falling.
        right: V ``(p, r)``.
    """

    def __init__(self, features: Floats, most: int | None = None) -> None:
        self.mean = features.mean(axis=0)
        centred = features - self.mean
        tall = len(centred) > centred.shape[1]
        values, vectors = np.linalg.eigh(centred.T @ centred if tall else centred @ centred.T)
        values, vectors = values[::-1], vectors[:, ::-1]
        kept = int((values > _ZERO * max(values[0], 1e-300)).sum())
        kept = min(kept, len(centred) - 1, most or kept)  # the mean takes one direction
        self.singular = np.sqrt(values[:kept])
        mine = vectors[:, :kept]
        self.right = mine if tall else centred.T @ mine / self.singular
        self.left = centred @ mine / self.singular if tall else mine

    def coordinates(self, features: Floats) -> Floats:
        """New rows ``(t, p)`` in the directions V ``(t, r)``."""
        found: Floats = (features - self.mean) @ self.right
        return found


class Ridge:
    """Ridge regression with an intercept that is not penalised, of many outcomes on one set of features.

    Args:
        features: ``(n, p)``.
        outcomes: ``(n, q)``.
        penalty: lambda, relative to the total variance of the features; see `choose_penalty`.
    """

    def __init__(self, features: Decomposed, outcomes: Floats, penalty: float) -> None:
        self.intercept = outcomes.mean(axis=0)
        self._features = features
        shrunk = features.singular / (features.singular**2 + absolute(features, penalty))
        self._weights = shrunk[:, None] * (features.left.T @ (outcomes - self.intercept))

    def predict(self, features: Floats) -> Floats:
        """Outcomes ``(t, q)`` of new rows ``(t, p)``."""
        found: Floats = self.intercept + self._features.coordinates(features) @ self._weights
        return found


def absolute(features: Decomposed, penalty: float) -> float:
    """Lambda in the units of the features squared."""
    return penalty * float((features.singular**2).sum()) / len(features.left)


def held_out(features: Decomposed, outcomes: Floats, fold: Ints, penalty: float) -> Floats:
    """What a fit without an item's fold would predict for the item ``(n, q)``; exact, and without refitting.

    For a linear smoother H the residuals of a fold B that was left out are ``(I - H_BB)^-1 (y - H y)_B``.

    Args:
        features: of all items.
        outcomes: ``(n, q)``.
        fold: ``(n,)``.
        penalty: see `Ridge`.
    """
    kept = features.singular**2 / (features.singular**2 + absolute(features, penalty))
    centred = outcomes - outcomes.mean(axis=0)
    residuals = centred - features.left @ (kept[:, None] * (features.left.T @ centred))
    # H = Q Q^T, with the intercept as a column of its own.
    root = np.column_stack([features.left * np.sqrt(kept), np.full(len(outcomes), len(outcomes) ** -0.5)])
    found = np.empty_like(outcomes)
    for number in np.unique(fold):
        rows = np.flatnonzero(fold == number)
        mine, left = root[rows], residuals[rows]
        if len(rows) <= mine.shape[1]:
            own = np.linalg.solve(np.eye(len(rows)) - mine @ mine.T, left)
        else:  # (I - Q Q^T)^-1 = I + Q (I - Q^T Q)^-1 Q^T, smaller where a fold has more items than directions
            own = left + mine @ np.linalg.solve(np.eye(mine.shape[1]) - mine.T @ mine, mine.T @ left)
        found[rows] = outcomes[rows] - own
    return found


def choose_penalty(features: Decomposed, outcomes: Floats, fold: Ints) -> tuple[float, Floats]:
    """The penalty of `PENALTIES` with the least squared error on left-out folds, and its `held_out` predictions."""
    best: tuple[float, float, Floats] | None = None
    for penalty in PENALTIES:
        predicted = held_out(features, outcomes, fold, float(penalty))
        error = float(((outcomes - predicted) ** 2).sum())
        if best is None or error < best[0]:
            best = error, float(penalty), predicted
    assert best is not None
    return best[1:]
