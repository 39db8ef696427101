"""Empirical Rademacher complexities of norm-bounded linear maps, in closed form and by simulation.

Equation numbers are those of docs/theory.md.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from crossdistill.theory.finite import Floats
from crossdistill.theory.vectors import positive


def linear_rademacher(features: ArrayLike, norm: float, classes: int = 1) -> float:
    """``B sqrt(k sum_i |z_i|^2) / m`` (Eq. 33), which is ``B sqrt(tr K) / m`` for one output.

    Bounds ``1/m E sup_{|W|_F <= B} sum_ic sigma_ic <w_c, z_i>``; equal to it for one output and orthogonal features.

    Args:
        features: ``(m, d)``.
        norm: B.
        classes: k, the number of outputs.

    Raises:
        ValueError: wrong shape, no features, not finite, or a number that is not positive.
    """
    rows = _rows(features)
    if classes < 1:
        raise ValueError(f"classes: expected at least 1, received {classes}")
    return positive(norm, what="norm") * math.sqrt(classes * float((rows**2).sum())) / len(rows)


def ramp_rademacher(features: ArrayLike, norm_over_margin: float, classes: int) -> float:
    """Complexity of the ramp losses of all margins of ``|W|_F <= B`` (Eq. 36): ``2 B/gamma sqrt(k sum |z_i|^2) / m``.

    By Maurer's vector contraction (arXiv 1605.00251): the margin is sqrt(2)-Lipschitz in the scores. For two classes
    the scalar contraction does with ``sqrt(2) B/gamma sqrt(sum |z_i|^2) / m`` (Eq. 37).

    Args:
        features: ``(m, d)``.
        norm_over_margin: B / gamma.
        classes: k >= 2.

    Raises:
        ValueError: see :func:`linear_rademacher`, or fewer than two classes.
    """
    if classes < 2:
        raise ValueError(f"classes: expected at least 2, received {classes}")
    if classes == 2:
        return math.sqrt(2) * linear_rademacher(features, norm_over_margin)
    return 2 * linear_rademacher(features, norm_over_margin, classes)


def simulated_rademacher(
    features: ArrayLike, norm: float, classes: int = 1, *, draws: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """The same complexity as :func:`linear_rademacher` by Monte Carlo, and its standard error.

    The supremum has a closed form: ``B |sum_i sigma_i z_i^T|_F``.

    Raises:
        ValueError: see :func:`linear_rademacher`, or fewer than two draws.
    """
    rows = _rows(features)
    if draws < 2:
        raise ValueError(f"draws: expected at least 2, received {draws}")
    rng = np.random.default_rng(seed)
    found = np.empty(draws)
    for draw in range(draws):
        signs = rng.integers(0, 2, size=(classes, len(rows))) * 2.0 - 1.0
        found[draw] = np.linalg.norm(signs @ rows)
    found *= positive(norm, what="norm") / len(rows)
    return float(found.mean()), float(found.std(ddof=1) / math.sqrt(draws))


def _rows(features: ArrayLike) -> Floats:
    rows = np.asarray(features, dtype=np.float64)
    if rows.ndim != 2 or 0 in rows.shape or not np.isfinite(rows).all():
        raise ValueError(f"features: expected finite (m, d) with m, d >= 1, received {rows.shape}")
    return rows
