"""Intersections and unions of each test item, and the estimates that are made of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from crossdistill.evaluation.intervals import Estimate, Floats, Ints, mean_of_ratios
from crossdistill.segmentation.masks import IGNORED

_Z = float(norm.ppf(0.975))


@dataclass(frozen=True)
class Overlaps:
    """How predictions and truth overlap in each item, in pixels.

    Attributes:
        intersections: of each class, ``(N, C)``.
        unions: likewise.
        right: pixels of the right class, ``(N,)``.
        pixels: that have a class, ``(N,)``.
    """

    intersections: Floats
    unions: Floats
    right: Floats
    pixels: Floats


def overlaps(predicted: NDArray[np.uint8], truth: NDArray[np.uint8], classes: int) -> Overlaps:
    """Counts pixels. Those without a class in the truth take no part, whatever is predicted there.

    Args:
        predicted: indices of classes, ``(N, H, W)``.
        truth: likewise, 255 where there is none.
        classes: number of classes.
    """
    counts = np.zeros((3, len(truth), classes))  # of the truth, of what is predicted, and of both
    for number, (ours, theirs) in enumerate(zip(predicted, truth, strict=True)):
        valid = theirs != IGNORED
        for kind, labels in enumerate((theirs[valid], ours[valid], theirs[valid & (ours == theirs)])):
            counts[kind, number] = np.bincount(labels, minlength=classes)
    wanted, found, both = counts
    return Overlaps(intersections=both, unions=wanted + found - both, right=both.sum(axis=1), pixels=wanted.sum(axis=1))


def present(truth: NDArray[np.uint8], classes: int) -> NDArray[np.bool_]:
    """Which classes occur in masks ``(N, H, W)``: ``(C,)``. The others have no IoU that means anything."""
    counted = np.bincount(truth.reshape(-1), minlength=256)[:classes]
    return np.asarray(counted > 0)


def mean_iou(draws: Sequence[Overlaps], there: NDArray[np.bool_], groups: Ints) -> Estimate:
    """The mean over draws and over the classes that occur in the test masks of intersection over union.

    Args:
        draws: one for each random choice of the training masks.
        there: classes that are counted, ``(C,)``; the same for every method that is compared.
        groups: of the items, ``(N,)``.
    """
    parts = [(each.intersections[:, there], each.unions[:, there]) for each in draws]
    return _averaged(parts, groups)


def class_iou(draws: Sequence[Overlaps], number: int, groups: Ints) -> Estimate:
    """Intersection over union of one class that occurs in the test masks, the mean over draws."""
    chosen = slice(number, number + 1)
    return _averaged([(each.intersections[:, chosen], each.unions[:, chosen]) for each in draws], groups)


def pixel_accuracy(draws: Sequence[Overlaps], groups: Ints) -> Estimate:
    """The share of pixels whose class is right, of those that have one; the mean over draws."""
    return _averaged([(each.right[:, None], each.pixels[:, None]) for each in draws], groups)


def _averaged(parts: Sequence[tuple[Floats, Floats]], groups: Ints) -> Estimate:
    """The mean over draws. Their spread widens the interval that the test items give, as both are chance."""
    # Ratios of several draws stand side by side, as those of classes do: what is resampled are the groups alone.
    numerators, denominators = (np.concatenate([each[side] for each in parts], axis=1) for side in (0, 1))
    found = mean_of_ratios(numerators, denominators, groups)
    if len(parts) < 2:
        return found
    values = [float((top.sum(axis=0) / bottom.sum(axis=0)).mean()) for top, bottom in parts]
    chance = _Z**2 * float(np.var(values, ddof=1)) / len(parts)
    low, high = (math.sqrt((found.value - end) ** 2 + chance) for end in (found.low, found.high))
    return replace(found, low=max(0.0, found.value - low), high=min(1.0, found.value + high), draws=len(parts))
