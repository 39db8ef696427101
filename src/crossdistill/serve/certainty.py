"""How sure an answer is: how often answers with such scores were right on the run's own held-out items."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold
from sklearn.preprocessing import StandardScaler

from crossdistill.evaluation.probes import Ints, Vectors

Floats = NDArray[np.float64]

FEWEST = 30  # held-out cases, below which nothing is said
_FEWEST_GROUPS = 10
_FEWEST_OF_A_KIND = 8  # right ones, and wrong ones, that a curve is fitted to
_FOLDS = 5
_BINS = 5
_OTHERS = 10  # the nearest but the first, whose mean similarity the first one is compared with
_STRANGE = 0.02  # of held-out items are as far from training as this, or farther


@dataclass(frozen=True)
class Calibration:
    """From scores to the probability of being right.

    Attributes:
        cases: held-out cases that it was fitted to.
        rate: how many of them were right.
        informative: whether scores told right from wrong on cases that were left out of the fit; if not, the
            probability is the rate whatever the scores are.
        error: of a curve, the mean distance between probability and frequency on left-out cases, in fifths of equal
            size; None of the plain rate, of which nothing of the kind can be measured.
        one_sided: whether nearly all cases were right, or nearly all wrong, so that no curve was tried.
    """

    cases: int
    rate: float
    informative: bool
    error: float | None
    one_sided: bool = False
    _curve: tuple[Floats, float] | None = field(repr=False, default=None)

    def probability(self, features: Floats) -> float:
        """Of one case with ``features`` ``(f,)``."""
        if self._curve is None:
            return self.rate
        weights, bias = self._curve
        least = 1 / (self.cases + 2)  # so many cases bear no stronger promise
        return float(np.clip(expit(features @ weights + bias), least, 1 - least))


def percent(share: float) -> str:
    """A share as people read it, without promising all or nothing."""
    return "over 99%" if share > 0.995 else "under 1%" if share < 0.005 else f"{share:.0%}"


def calibrate(features: Floats, right: NDArray[np.bool_], groups: Ints) -> Calibration | None:
    """Fits a logistic curve to held-out cases; None where they are too few.

    The curve is kept only if its Brier score on groups that were left out is better than that of the plain rate.

    Args:
        features: ``(n, f)``.
        right: ``(n,)``.
        groups: ``(n,)``; cases of one group are never separated.
    """
    count = len(right)
    if count < FEWEST or len(np.unique(groups)) < _FEWEST_GROUPS:
        return None
    rate = float((right.sum() + 1) / (count + 2))  # Laplace's, so that 0 and 1 are never promised
    if min(right.sum(), count - right.sum()) < _FEWEST_OF_A_KIND:
        return Calibration(count, rate, informative=False, error=None, one_sided=True)
    fitted, plain = np.empty(count), np.empty(count)
    for learn, test in GroupKFold(_FOLDS).split(features, right, groups):
        plain[test] = right[learn].mean()
        if len(np.unique(right[learn])) < 2:
            fitted[test] = plain[test]
            continue
        weights, bias = _curve(features[learn], right[learn])
        fitted[test] = expit(features[test] @ weights + bias)
    if not np.mean((fitted - right) ** 2) < np.mean((plain - right) ** 2):
        return Calibration(count, rate, informative=False, error=None)
    error = _calibration_error(fitted, right)
    return Calibration(count, rate, informative=True, error=error, _curve=_curve(features, right))


def _curve(features: Floats, right: NDArray[np.bool_]) -> tuple[Floats, float]:
    """Weights ``(f,)`` and bias of a logistic regression, fitted to features of unit variance."""
    scaler = StandardScaler().fit(features)
    fitted = LogisticRegression().fit(scaler.transform(features), right)
    weights: Floats = fitted.coef_[0] / scaler.scale_
    return weights, float(fitted.intercept_[0] - scaler.mean_ @ weights)


def _calibration_error(probability: Floats, right: NDArray[np.bool_]) -> float:
    parts = np.array_split(np.argsort(probability, kind="stable"), _BINS)
    gaps = [abs(probability[part].mean() - right[part].mean()) * len(part) for part in parts]
    return float(sum(gaps) / len(right))


def retrieval_features(similarity: Vectors) -> Floats:
    """What the similarities of the nearest items, ``(n, m)`` from the nearest on, say about being right, ``(n, 3)``.

    The first one's, its lead over the second, and over the mean of those that follow.
    """
    values = similarity.astype(np.float64)
    first = values[:, 0]
    others = values[:, 1 : 1 + _OTHERS] if values.shape[1] > 1 else values[:, :1]
    return np.stack([first, first - others[:, 0], first - others.mean(axis=1)], axis=1)


LOOKED_AT = 1 + _OTHERS
"""How many of the nearest items :func:`retrieval_features` wants to see."""


def label_features(probabilities: Floats) -> Floats:
    """What class probabilities ``(n, c)`` say about the likeliest being right, ``(n, 3)``."""
    ordered = np.sort(probabilities, axis=1)[:, ::-1]
    first = np.clip(ordered[:, 0], 1e-9, 1 - 1e-9)
    second = ordered[:, 1] if ordered.shape[1] > 1 else np.zeros(len(ordered))
    safe = np.clip(probabilities, 1e-12, 1)
    entropy = -(safe * np.log(safe)).sum(axis=1) / max(np.log(probabilities.shape[1]), 1e-9)
    return np.stack([np.log(first / (1 - first)), first - second, entropy], axis=1)


class PartnerCertainty:
    """How likely the partner of a query is among the k nearest of the other modality, for any k.

    Args:
        similarity: of held-out queries to their nearest items, ``(n, LOOKED_AT)``.
        ranks: of their partners, ``(n,)``, 1 is first.
        groups: ``(n,)``.
    """

    def __init__(self, similarity: Vectors, ranks: Ints, groups: Ints) -> None:
        self._features = retrieval_features(similarity) if len(similarity) else np.empty((0, 3))
        self._ranks, self._groups = ranks, groups
        self._by_k: dict[int, Calibration | None] = {}
        self._lock = threading.Lock()

    def within(self, k: int) -> Calibration | None:
        """The calibration for the ``k`` nearest; None where there are too few held-out pairs."""
        with self._lock:
            if k not in self._by_k:
                self._by_k[k] = calibrate(self._features, self._ranks <= k, self._groups)
            return self._by_k[k]


class Familiarity:
    """How near a query is to training items of its modality, compared with held-out items.

    Args:
        similarity: of each held-out item to the nearest training item, ``(n,)``.
    """

    def __init__(self, similarity: Vectors) -> None:
        self._sorted = np.sort(similarity)

    def share(self, similarity: float) -> float | None:
        """The share of held-out items that are no nearer to training; None where these are too few."""
        count = len(self._sorted)
        if count < FEWEST:
            return None
        return float(np.searchsorted(self._sorted, similarity, side="right") / count)

    @staticmethod
    def strange(share: float | None) -> bool:
        """Whether that is so rare among held-out items that what was measured on them says little."""
        return share is not None and share < _STRANGE
