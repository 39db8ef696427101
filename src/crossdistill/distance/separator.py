"""A classifier that tells two samples apart: least squares on plain or on Gaussian features, whichever does better."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np
from scipy.linalg import cholesky, solve_triangular

from crossdistill.distance.kernels import gaussian, median_squared_distance, squared_distances
from crossdistill.distance.ridge import Decomposed, Ridge, choose_penalty
from crossdistill.distance.samples import folds
from crossdistill.evaluation.intervals import Floats, Ints

Family = Literal["linear", "gaussian"]

_FOLDS = 5
_LANDMARKS = 400  # rows whose kernels are the Gaussian features (Nystrom); fewer rows are all taken, which is exact
_WIDTHS = (1.0, 0.1)  # sigma^2, relative to the median squared distance
_JITTER = 1e-8


class Separator:
    """Least-squares classification of rows into source (scores above the threshold) and target.

    Features, width of the kernel and penalty have the least squared error on left-out folds of groups. All of it is
    solved in closed form, so nothing depends on an optimiser's steps.

    Attributes:
        threshold: the score with the largest difference of shares above it between both sides, on left-out folds.

    Args:
        rows: ``(N, d)`` of both sides.
        source: ``(N,)``, whether a row is of the source.
        groups: ``(N,)``.
        families: what may be chosen from: ``linear``, ``gaussian``.
        rng: source of chance.
    """

    def __init__(
        self, rows: Floats, source: np.ndarray[tuple[int], np.dtype[np.bool_]], groups: Ints,
        families: tuple[Family, ...], rng: np.random.Generator,
    ) -> None:  # fmt: skip
        spread = rows.std(axis=0)
        varies = spread > 1e-9 * max(float(spread.max()), 1e-300)
        # As they are, a few strong directions count most; standardised, all alike. Neither is better everywhere.
        scales = [np.ones_like(spread), np.where(varies, 1 / np.where(varies, spread, 1.0), 0.0)]
        self._mean = rows.mean(axis=0)
        label = np.where(source, 1.0, -1.0)[:, None]
        fold = folds(groups, _FOLDS, rng)
        least = np.inf
        for scale in scales:
            scaled = (rows - self._mean) * scale
            for each in _maps(scaled, families, rng):
                features = Decomposed(each(scaled))
                penalty, scores = choose_penalty(features, label, fold)
                error = float(((label - scores) ** 2).sum())
                if error < least:
                    least, best, self._scale, self._map = error, scores[:, 0], scale, each
                    self._model = Ridge(features, label, penalty)
        self.threshold = best_threshold(best, source)

    def scores(self, rows: Floats) -> Floats:
        """Scores ``(t,)`` of rows ``(t, d)``, higher for the source."""
        return self._model.predict(self._map((rows - self._mean) * self._scale))[:, 0]


def _plain(rows: Floats) -> Floats:
    return rows


def _maps(rows: Floats, families: tuple[Family, ...], rng: np.random.Generator) -> Iterator[Callable[[Floats], Floats]]:
    """The features to choose from."""
    if "linear" in families:
        yield _plain
    if "gaussian" in families:
        landmarks = rows[rng.permutation(len(rows))[:_LANDMARKS]]
        width = median_squared_distance(landmarks)
        for factor in _WIDTHS:
            yield _Gaussian(landmarks, factor * width)


class _Gaussian:
    """Features whose inner products are a Gaussian kernel, exactly among the landmarks (Williams and Seeger, 2000)."""

    def __init__(self, landmarks: Floats, width: float) -> None:
        self._landmarks, self._width = landmarks, width
        kernel = gaussian(squared_distances(landmarks, landmarks), width)
        self._factor = cholesky(kernel + _JITTER * np.eye(len(kernel)), lower=True)

    def __call__(self, rows: Floats) -> Floats:
        between = gaussian(squared_distances(self._landmarks, rows), self._width)
        found: Floats = solve_triangular(self._factor, between, lower=True).T
        return found


def best_threshold(scores: Floats, source: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> float:
    """The threshold t with the largest ``share of source above t - share of target above t``, between two scores."""
    order = np.argsort(scores, kind="stable")
    ordered, mine = scores[order], source[order]
    gain = np.cumsum(~mine) / (~mine).sum() - np.cumsum(mine) / mine.sum()
    gain[:-1][ordered[:-1] == ordered[1:]] = -np.inf  # no threshold is between equal scores
    place = int(gain[:-1].argmax())
    return float((ordered[place] + ordered[place + 1]) / 2)
