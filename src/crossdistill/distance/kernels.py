"""Squared distances, Gaussian kernels and their widths."""

from __future__ import annotations

import numpy as np

from crossdistill.evaluation.intervals import Floats

_MOST = 1000  # rows that a median is taken of; their half million distances give it to a fraction of a percent


def squared_distances(x: Floats, y: Floats) -> Floats:
    """``||x_i - y_j||^2`` as ``(n, m)``, in the units of the vectors squared."""
    # Distances do not change with the origin, and rounding errors are smallest near it.
    origin = x.mean(axis=0)
    x, y = x - origin, y - origin
    found: Floats = x @ (-2 * y.T)
    found += (x**2).sum(axis=1)[:, None]
    found += (y**2).sum(axis=1)
    return np.maximum(found, 0, out=found)


def median_squared_distance(rows: Floats) -> float:
    """The median of ``||x_i - x_j||^2`` over different rows: the width of the median heuristic, sigma^2.

    At most 1000 rows are looked at, evenly spaced.

    Raises:
        ValueError: more than half of the distances are zero.
    """
    some = rows[np.linspace(0, len(rows) - 1, min(len(rows), _MOST)).astype(int)]
    distances = squared_distances(some, some)
    found = float(np.median(distances[np.triu_indices(len(some), 1)]))
    if found <= 1e-12 * float(distances.max()):
        raise ValueError("most vectors are the same: there is no distance to measure them with")
    return found


def gaussian(distances: Floats, width: float) -> Floats:
    """``exp(-D / (2 width))`` for squared distances D and width sigma^2."""
    found = distances * (-0.5 / width)
    return np.exp(found, out=found)
