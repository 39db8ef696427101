"""Rank correlations with intervals that respect clusters."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import spearmanr

_DRAWS = 2000


def rank_correlation(one: Sequence[float], other: Sequence[float], clusters: Sequence[Any]) -> dict[str, float]:
    """Spearman's rho with the 95% interval of a bootstrap over whole clusters.

    Args:
        one: ``(n,)``.
        other: ``(n,)``.
        clusters: what is drawn together ``(n,)``.
    """
    x, y = np.asarray(one, dtype=float), np.asarray(other, dtype=float)
    names = sorted({str(each) for each in clusters})
    members = [np.flatnonzero([str(each) == name for each in clusters]) for name in names]
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(_DRAWS):
        rows = np.concatenate([members[each] for each in rng.integers(len(members), size=len(members))])
        drawn.append(rho(x[rows], y[rows]))
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return {"rho": rho(x, y), "low": float(low), "high": float(high), "points": len(x), "clusters": len(names)}


def rho(x: Any, y: Any) -> float:
    """Spearman's; 0 where one side is constant, and so tells nothing."""
    if len(np.unique(x)) < 2 or len(np.unique(y)) < 2:
        return 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(spearmanr(x, y).statistic)
