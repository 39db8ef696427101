"""Whether a classifier is as often right as it says: the expected calibration error with an interval."""

from __future__ import annotations

import math

import numpy as np

from crossdistill.evaluation.intervals import Estimate, Floats, Ints
from crossdistill.evaluation.resampling import group_sums, resampled

BINS = 15
"""Of confidence, equally wide, ``[0, 1/15)`` and so on; the number of Guo et al. (arXiv 1706.04599)."""
_Z = 1.96


def calibration_error(confidence: Floats, right: Floats, groups: Ints) -> Estimate:
    """Expected calibration error of the predicted class (Guo et al. 2017): in each of ``BINS`` bins of confidence the
    absolute difference of mean confidence and accuracy, weighted by the items in it; its mean over random draws.

    The interval resamples whole groups. Noise has an absolute value too, so an error that is measured on few items is
    larger than the true one, and that of a resample larger still: what the resamples add is taken off the lower end
    again, and that is 0 where noise alone would explain the error in one of twenty resamples. The spread of the draws
    widens both ends. In the simulation of ``tests/test_recognition.py`` it covers about as often as it should.

    Args:
        confidence: probability of the predicted class ``(draws, N)``.
        right: whether it is the true one ``(draws, N)``, 0 or 1.
        groups: ``(N,)``.
    """
    draws, count = confidence.shape
    bins = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
    # What each item adds to each bin's sum of (confidence - right); and itself, to divide by.
    parts = np.zeros((count, draws * BINS + 1))
    for draw in range(draws):
        parts[np.arange(count), draw * BINS + bins[draw]] = confidence[draw] - right[draw]
    parts[:, -1] = 1.0
    summed = group_sums(parts, groups)
    gaps = _gaps(summed.sum(axis=0)[None])[0]
    each = np.abs(gaps).reshape(draws, BINS).sum(axis=1)
    value, low, high = float(each.mean()), 0.0, 1.0
    if len(summed) > 1:
        drawn = resampled(lambda sums: np.abs(_gaps(sums)).sum(axis=1) / draws, summed)
        noise = resampled(lambda sums: np.abs(_gaps(sums) - gaps).sum(axis=1) / draws, summed)
        below, middle, above = (float(each) for each in np.quantile(drawn, (0.025, 0.5, 0.975)))
        spread = _Z * float(each.std(ddof=1)) / math.sqrt(draws) if draws > 1 else 0.0
        low = value - math.hypot(max(0.0, above - value), spread)
        if value <= float(np.quantile(noise, 0.95)):
            low = 0.0
        high = value + math.hypot(middle - below, spread)
    return Estimate(
        value=value, low=min(max(0.0, low), value), high=max(min(1.0, high), value), items=count, draws=draws,
        outcomes=np.empty(0), groups=groups,
    )  # fmt: skip


def _gaps(sums: Floats) -> Floats:
    """Of sums ``(R, draws * BINS + 1)`` each bin's mean confidence minus accuracy, times its share of the items."""
    found: Floats = sums[:, :-1] / sums[:, -1:]
    return found
