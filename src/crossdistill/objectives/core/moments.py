"""Means and covariances of embeddings, for the objectives that compare statistics instead of pairs."""

from __future__ import annotations

import math

from torch import Tensor


def scaled(unit: Tensor) -> Tensor:
    """Unit rows ``(B, d)`` times sqrt(d), so that a coordinate's second moment is about one, whatever the width."""
    return unit * math.sqrt(unit.shape[1])


def covariance(rows: Tensor) -> Tensor:
    """``(B, d)`` to the unbiased covariance ``(d, d)``; zero for a single row."""
    centred = rows - rows.mean(dim=0)
    return centred.T @ centred / max(1, len(rows) - 1)


def variance(rows: Tensor) -> Tensor:
    """``(B, d)`` to the unbiased variance of each coordinate ``(d,)``; zero for a single row."""
    return (rows - rows.mean(dim=0)).square().sum(dim=0) / max(1, len(rows) - 1)
