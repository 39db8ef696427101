"""How much two items have in common, as learned from the pairs: canonical correlations, and their evidence."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crossdistill.evaluation.intervals import Floats

_SOFT = 0.25  # exponent of the eigenvalues: 0 would whiten fully, 0.5 not at all
_RIDGE = 0.3  # relative to the mean variance of a direction
_HIGHEST = 0.98  # correlation that is believed
_CHUNK = 4096


def principal(blocks: list[NDArray[np.floating]], dimensions: int) -> Floats:
    """The leading principal components of feature blocks ``(n, F)``, partly whitened ``(n, k)``.

    Each block is scaled to unit total variance first, so that none outvotes the others by its unit or its width.
    Covariances are added up in chunks: the blocks may be tables on disk.
    """
    means = [block.mean(axis=0, dtype=np.float64) for block in blocks]
    scales = [1 / np.sqrt(max(_variance(block, mean), 1e-12)) for block, mean in zip(blocks, means, strict=True)]

    def part(start: int) -> Floats:
        rows = slice(start, start + _CHUNK)
        shifted = [(block[rows] - mean) * s for block, mean, s in zip(blocks, means, scales, strict=True)]
        return np.concatenate(shifted, axis=1, dtype=np.float64)

    count = len(blocks[0])
    starts = range(0, count, _CHUNK)
    covariance = sum((chunk.T @ chunk for chunk in map(part, starts)), start=np.zeros(())) / count
    values, vectors = np.linalg.eigh(covariance)
    values, vectors = values[::-1], vectors[:, ::-1]
    kept = max(1, min(dimensions, int((values > 1e-9 * values[0]).sum())))
    spread = np.maximum(values[:kept], 1e-12) ** _SOFT  # variance that a direction is left with, up to a factor
    weights = vectors[:, :kept] / np.maximum(values[:kept], 1e-12) ** 0.5 * spread / np.sqrt((spread**2).mean())
    return np.concatenate([chunk @ weights for chunk in map(part, starts)])


def _variance(block: NDArray[np.floating], mean: Floats) -> float:
    starts = range(0, len(block), _CHUNK)
    return float(sum(((block[s : s + _CHUNK] - mean) ** 2).sum(dtype=np.float64) for s in starts)) / len(block)


@dataclass(frozen=True)
class Canonical:
    """Directions of two spaces that correlate: means ``(k,)`` and weights ``(k, c)`` of each."""

    source_mean: Floats
    target_mean: Floats
    source_weights: Floats
    target_weights: Floats

    @classmethod
    def fit(cls, source: Floats, target: Floats) -> Canonical:
        """Regularised canonical correlation analysis (Hotelling, 1936; Vinod, 1976) of pairs ``(n, k)``, ``(n, l)``."""
        means = source.mean(axis=0), target.mean(axis=0)
        x, y = source - means[0], target - means[1]
        factors = [np.linalg.cholesky(v.T @ v / len(v) + _RIDGE * np.eye(v.shape[1])) for v in (x, y)]
        between = np.linalg.solve(factors[1], np.linalg.solve(factors[0], x.T @ y / len(x)).T).T
        left, _, right = np.linalg.svd(between, full_matrices=False)
        return cls(*means, np.linalg.solve(factors[0].T, left), np.linalg.solve(factors[1].T, right.T))

    def variates(self, source: Floats, target: Floats) -> tuple[Floats, Floats]:
        """Both sides in the common directions ``(n, c)``, each of unit variance over the items given."""
        u, v = (source - self.source_mean) @ self.source_weights, (target - self.target_mean) @ self.target_weights
        return _unit_variance(u), _unit_variance(v)


def _unit_variance(values: Floats) -> Floats:
    scaled: Floats = (values - values.mean(axis=0)) / np.maximum(values.std(axis=0), 1e-9)
    return scaled


def correlations(u: Floats, v: Floats) -> Floats:
    """Of the variates of pairs ``(n, c)`` that the directions were not fitted to ``(c,)``."""
    found: Floats = np.clip((u * v).mean(axis=0), 0, _HIGHEST)
    return found


def evidence(u: Floats, v: Floats, correlation: Floats) -> Floats:
    """For every source and every target how much better they fit as a pair than as strangers ``(n, m)``.

    The logarithm of p(u, v) / (p(u) p(v)) for Gaussian variates with these correlations.
    """
    gain = 1 / (1 - correlation**2)
    own = correlation**2 * gain / 2
    constant = -0.5 * float(np.log1p(-(correlation**2)).sum())
    return constant - ((u**2) @ own)[:, None] - ((v**2) @ own)[None, :] + (u * (correlation * gain)) @ v.T
