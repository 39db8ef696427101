"""The bootstrap over groups, of statistics that are functions of sums over items."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Statistic = Callable[[Floats], Floats]
"""Sums of several samples ``(R, ...)`` to a number for each ``(R,)``."""

RESAMPLES = 1000
_MOST = 20_000_000  # numbers of resampled sums that are there at a time
_SPARSE = 0.1  # share of numbers other than zero below which products go faster without the zeros


def group_weights(groups: int, seed: int = 0, resamples: int = RESAMPLES) -> Floats:
    """How often each of so many groups is in each bootstrap resample, ``(resamples, groups)``."""
    rng = np.random.default_rng((seed, groups))
    return rng.multinomial(groups, np.full(groups, 1 / groups), size=resamples).astype(np.float64)


def group_sums(parts: NDArray[Any], groups: Ints) -> Floats:
    """Sums over the items of each group: ``(N, ...)`` to ``(G, ...)``."""
    _, number = np.unique(groups, return_inverse=True)
    summed = np.zeros((int(number.max()) + 1, *parts.shape[1:]))
    np.add.at(summed, number, parts)
    return summed


def resampled(statistic: Statistic, sums: Floats) -> Floats:
    """The statistic of each bootstrap resample of whole groups (Efron 1979), ``(R,)``.

    The resamples depend on the number of groups alone, so two methods on the same items have the same ones.

    Args:
        statistic: of sums over all groups.
        sums: of each group, ``(G, ...)``.
    """
    weights = group_weights(len(sums))
    flat = sums.reshape(len(sums), -1)
    sparse = csr_matrix(flat) if np.count_nonzero(flat) < _SPARSE * flat.size else None
    at_once = max(1, _MOST // max(1, flat.shape[1]))
    found = []
    for start in range(0, len(weights), at_once):
        piece = weights[start : start + at_once]
        total = piece @ flat if sparse is None else (sparse.T @ piece.T).T
        found.append(statistic(np.asarray(total).reshape(len(piece), *sums.shape[1:])))
    return np.concatenate(found)


def compact(parts: NDArray[Any]) -> NDArray[Any]:
    """The same values in the smallest type that holds them: counts in bytes, everything else in float32."""
    whole = parts.size == 0 or (np.all(parts >= 0) and np.all(parts == np.floor(parts)) and parts.max() < 2**32)
    return parts.astype(np.min_scalar_type(int(parts.max(initial=0))) if whole else np.float32)
