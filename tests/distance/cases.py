"""Samples whose distances are known in closed form."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

Floats = NDArray[np.float64]


def shifted(seed: int, count: int, dimensions: int, shift: float) -> tuple[Floats, Floats]:
    """N(0, I) and N(shift e_1, I), ``(n, d)`` each."""
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((2, count, dimensions))
    y[:, 0] += shift
    return x, y


def shift_variation(shift: float) -> float:
    """TV(N(0, I), N(mu, I)) for ``|mu| = shift``."""
    return float(2 * norm.cdf(shift / 2) - 1)


def correlated(seed: int, count: int, dimensions: int, correlation: float) -> tuple[Floats, Floats]:
    """Standard normal pairs ``(n, d)`` whose coordinates correlate one by one."""
    rng = np.random.default_rng(seed)
    x, noise = rng.standard_normal((2, count, dimensions))
    return x, correlation * x + np.sqrt(1 - correlation**2) * noise


def rotation(seed: int, dimensions: int) -> Floats:
    """A random orthogonal matrix."""
    found: Floats = np.linalg.qr(np.random.default_rng(seed).standard_normal((dimensions, dimensions)))[0]
    return found
