"""From how well each pair fits to how likely it is that it is none, and to the share of those that are none."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.isotonic import isotonic_regression

from crossdistill.evaluation.intervals import Floats, Ints, proportion

_TAILS = (0.25, 0.5, 0.75)  # chances beyond which there may be mismatched pairs alone; the last is the safest


@dataclass(frozen=True)
class Share:
    """Share of mismatched pairs with its 95% interval."""

    value: float
    low: float
    high: float


def mismatched_share(chances: Floats, groups: Ints) -> Share:
    """The share of mismatched pairs (Storey, 2002).

    ``chances`` are p-values of the hypothesis that a pair is mismatched: a mismatched pair fits as well as any other
    wrong one, so its chance is uniform on 0..1, while that of a right pair is near 0. Far from 0 there are (nearly)
    none but mismatched ones; how far is the first of a quarter, a half and three quarters whose answer is not above
    that of the last by more than its standard error. Right pairs that look like nothing else in the set are counted as
    well, so the estimate errs upwards; the interval covers the choice of pairs alone.

    Args:
        chances: ``(repeats, N)``.
        groups: ``(N,)``.
    """
    safest = _beyond(chances, groups, _TAILS[-1])
    for tail in _TAILS[:-1]:
        found = _beyond(chances, groups, tail)
        rest = 1 - _TAILS[-1]
        error = np.sqrt(found.value * rest * (1 - found.value * rest) / chances.shape[1]) / rest
        if found.value <= safest.value + error:
            return found
    return safest


def _beyond(chances: Floats, groups: Ints, tail: float) -> Share:
    beyond = proportion((chances > tail).mean(axis=0), groups)
    return Share(*(min(1.0, each / (1 - tail)) for each in (beyond.value, beyond.low, beyond.high)))


def doubts(chances: Floats, share: float) -> Floats:
    """For each pair the probability that it is mismatched ``(N,)``: the local false discovery rate (Efron, 2001).

    The density of the chances is the decreasing one that fits best (Grenander, 1956); mismatched pairs make up
    ``share`` of it everywhere.

    Args:
        chances: ``(repeats, N)``.
        share: of mismatched pairs.
    """
    found = np.zeros(chances.shape)
    for repeat, each in enumerate(chances):
        edges = np.unique(np.concatenate([[0.0], each, [1.0]]))
        widths = np.diff(edges)
        density = np.histogram(each, edges)[0] / len(each) / widths
        fitted = isotonic_regression(density, sample_weight=widths, increasing=False)
        place = np.clip(np.searchsorted(edges, each) - 1, 0, len(density) - 1)
        found[repeat] = np.minimum(1.0, share / np.maximum(fitted[place], 1e-9))
    doubt: Floats = found.mean(axis=0)
    return doubt
