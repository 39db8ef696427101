"""k-NN and linear probes on frozen vectors, and the random draws of few-shot sets."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from threadpoolctl import threadpool_limits

Vectors = NDArray[np.float32]
Ints = NDArray[np.int64]

INVERSE_REGULARISATION = 100.0  # scikit-learn's C, times d; the same for every method and data set
_SMALL = 10_000_000  # numbers in a training matrix below which threads cost more than they bring


def knn_predictions(train: Vectors, labels: Ints, test: Vectors, neighbours: int) -> Ints:
    """Predictions ``(T,)`` of a k-NN vote weighted by closeness, by cosine distance (arXiv 1805.01978).

    Args:
        train: ``(N, d)``.
        labels: ``(N,)`` class numbers.
        test: ``(T, d)``.
        neighbours: k; all training items vote when there are fewer.
    """
    return knn_answers(train, labels, test, neighbours)[0]


def knn_answers(train: Vectors, labels: Ints, test: Vectors, neighbours: int) -> tuple[Ints, NDArray[np.float64]]:
    """The same, and the share of the vote that the predicted class has ``(T,)``."""
    vote = KNeighborsClassifier(
        min(neighbours, len(train)), metric="cosine", weights=lambda distance: np.exp((1 - distance) / 0.07)
    )
    shares: NDArray[np.float64] = vote.fit(unit(train), labels).predict_proba(unit(test))
    found: Ints = vote.classes_[shares.argmax(axis=1)]
    return found, shares.max(axis=1)


class LinearProbe:
    """Multinomial logistic regression over unit vectors, scaled to unit average variance.

    With fewer items than dimensions the items are first rotated into the space that they span. The L2-regularised
    solution lies in it, so this changes the time and not the result.
    """

    def __init__(self, train: Vectors, labels: Ints) -> None:
        vectors = unit(train)
        self.mean = vectors.mean(axis=0)
        centred = vectors - self.mean
        self.scale = 1.0 / max(float(np.sqrt((centred**2).sum(axis=1).mean() / centred.shape[1])), 1e-6)
        self.basis = None
        if centred.shape[0] < centred.shape[1]:
            _, _, self.basis = np.linalg.svd(centred, full_matrices=False)
        prepared = self._prepare(vectors, self.mean)
        self.model = LogisticRegression(C=INVERSE_REGULARISATION / vectors.shape[1], max_iter=1000, tol=1e-3)
        with threadpool_limits(limits=1 if prepared.size < _SMALL else None), warnings.catch_warnings():
            # With one or two labels a class scikit-learn wonders whether the class numbers are measurements.
            warnings.filterwarnings("ignore", message="The number of unique classes is greater than 50%")
            self.model.fit(prepared, labels)

    def predict(self, vectors: Vectors, mean: Vectors | None = None) -> Ints:
        """Predictions ``(T,)`` for ``(T, d)``; ``mean`` ``(d,)`` replaces the training mean (another modality's)."""
        found: Ints = self.model.predict(self._prepare(unit(vectors), self.mean if mean is None else mean))
        return found

    def scores(self, vectors: Vectors, mean: Vectors | None = None) -> NDArray[np.float64]:
        """Unnormalised log probabilities ``(T, k)`` of the `classes`."""
        prepared = self._prepare(unit(vectors), self.mean if mean is None else mean)
        found: NDArray[np.float64] = self.model.decision_function(prepared).astype(np.float64)
        # Of two classes scikit-learn gives the difference alone.
        return np.stack([-found / 2, found / 2], axis=1) if found.ndim == 1 else found

    def answers(self, vectors: Vectors, mean: Vectors | None = None) -> tuple[Ints, NDArray[np.float64]]:
        """What `predict` says, and the probability that the model gives to it ``(T,)``."""
        scores = self.scores(vectors, mean)
        return self.classes[scores.argmax(axis=1)], softmax(scores, axis=1).max(axis=1)

    def linear_map(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The same classifier as weights ``(k, d)`` and bias ``(k,)`` on unit vectors, classes as in `classes`."""
        weights, bias = self.model.coef_.astype(np.float64), self.model.intercept_.astype(np.float64)
        if len(weights) == 1:  # of two classes scikit-learn keeps the difference alone
            weights, bias = np.concatenate([-weights, weights]) / 2, np.concatenate([-bias, bias]) / 2
        if self.basis is not None:
            weights = weights @ self.basis
        weights = weights * self.scale
        return weights, bias - weights @ self.mean

    @property
    def classes(self) -> Ints:
        """Class numbers in the order of `linear_map`."""
        found: Ints = self.model.classes_
        return found

    def _prepare(self, vectors: Vectors, mean: Vectors) -> Vectors:
        scaled = (vectors - mean) * self.scale
        return scaled if self.basis is None else scaled @ self.basis.T


def unit(vectors: Vectors) -> Vectors:
    """Rows of length one; zero rows stay zero."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    found: Vectors = (vectors / np.maximum(lengths, 1e-12)).astype(np.float32)
    return found


def few_shot_rows(labels: Sequence[int] | Ints, shots: int, draw: int, seed: int) -> Ints:
    """Positions of ``shots`` random items of every class; the same for every method that is compared.

    Raises:
        ValueError: a class has fewer (the run's configuration is checked for that before anything long begins).
    """
    numbers = np.asarray(labels)
    rng = np.random.default_rng((seed, shots, draw))
    chosen = []
    for label in np.unique(numbers):
        members = np.flatnonzero(numbers == label)
        if len(members) < shots:
            raise ValueError(f"class {label} has {len(members)} items, fewer than {shots} shots")
        chosen.append(rng.permutation(members)[:shots])
    return np.concatenate(chosen)
