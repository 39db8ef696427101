"""Distributions over a finite set: total variation, Kullback-Leibler divergence, entropy. All in float64.

Equation numbers are those of docs/theory.md.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_SUM = 1e-9  # by how much the probabilities' sum may miss one
_CLOSE = 0.5  # |q/p - 1| below which a divergence's terms are computed from the ratio


def distribution(values: ArrayLike, *, what: str = "distribution") -> Floats:
    """Probabilities ``(..., N)`` as float64, checked.

    Raises:
        ValueError: a value is negative or not finite, or a row does not sum to one.
    """
    found = np.asarray(values, dtype=np.float64)
    if found.ndim == 0 or found.shape[-1] == 0:
        raise ValueError(f"{what}: expected (..., N) with N >= 1, received {found.shape}")
    if not np.isfinite(found).all() or (found < 0).any():
        raise ValueError(f"{what}: expected finite probabilities >= 0")
    off = float(np.abs(found.sum(axis=-1) - 1).max(initial=0.0))
    if off > _SUM:
        raise ValueError(f"{what}: expected rows that sum to one, received one that misses it by {off:.3g}")
    return found


def _pair(p: ArrayLike, q: ArrayLike) -> tuple[Floats, Floats]:
    first, second = distribution(p, what="p"), distribution(q, what="q")
    if first.shape != second.shape:
        raise ValueError(f"expected two distributions of one shape, received {first.shape} and {second.shape}")
    return first, second


def total_variation(p: ArrayLike, q: ArrayLike) -> Floats:
    """``1/2 sum_j |p_j - q_j|`` (Eq. 1), the largest difference of an event's probabilities; ``(..., N)`` to ``(...)``.

    Raises:
        ValueError: see :func:`distribution`; or the shapes differ.
    """
    first, second = _pair(p, q)
    found: Floats = np.minimum(np.abs(first - second).sum(axis=-1) / 2, 1.0)
    return found


def kl_divergence(p: ArrayLike, q: ArrayLike) -> Floats:
    """``sum_j p_j log(p_j / q_j)`` in nats (Eq. 4), ``(..., N)`` to ``(...)``; infinite where q lacks a point of p.

    Computed from terms ``p log(p/q) - p + q``, each of which is at least zero. So it stays accurate for distributions
    that nearly agree, where it is the square of a small number: a plain sum's rounding error of 1e-16 would become
    1e-8 in Pinsker's square root.

    Raises:
        ValueError: see :func:`distribution`; or the shapes differ.
    """
    first, second = _pair(p, q)
    support = first > 0
    safe = np.where(support, first, 1.0)
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        relative = np.where(support, (second - first) / safe, 0.0)
        far = first * (np.log(safe) - np.log(second)) - first + second
    close = np.abs(relative) < _CLOSE
    near = first * (np.where(close, relative, 0.0) - np.log1p(np.where(close, relative, 0.0)))
    terms = np.where(support, np.where(close, near, far), second)
    found: Floats = np.maximum(terms, 0.0).sum(axis=-1)
    return found


def entropy(p: ArrayLike) -> Floats:
    """``-sum_j p_j log p_j`` in nats, ``(..., N)`` to ``(...)``.

    Raises:
        ValueError: see :func:`distribution`.
    """
    first = distribution(p)
    found: Floats = -(first * np.log(np.where(first > 0, first, 1.0))).sum(axis=-1)
    return found


def softmax(logits: ArrayLike) -> Floats:
    """``exp(l_j) / sum_k exp(l_k)`` over the last axis; ``-inf`` leaves a point out.

    Raises:
        ValueError: a logit is NaN or ``+inf``, or a row has no finite one.
    """
    found = np.asarray(logits, dtype=np.float64)
    largest = found.max(axis=-1, keepdims=True)
    if not np.isfinite(largest).all():
        raise ValueError("expected logits that are finite or -inf, one in each row finite")
    weights = np.exp(found - largest)
    probabilities: Floats = weights / weights.sum(axis=-1, keepdims=True)
    return probabilities
