"""What is said of a classifier on test items: accuracy, macro F1, calibration error, and which classes it confuses."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from crossdistill.evaluation.calibration import calibration_error
from crossdistill.evaluation.intervals import Estimate, Floats, Ints, mean_of_ratios, proportion

ENDINGS = ("", "_macro_f1", "_ece")
"""What is appended to a classifier's name for each of its metrics."""


@dataclass(frozen=True)
class Predictions:
    """What a classifier says of test items, once for each random draw of its labels.

    Attributes:
        predicted: class numbers ``(draws, N)``.
        confidence: the probability that it gives to them ``(draws, N)``.
        truth: ``(N,)``.
        groups: ``(N,)``.
        classes: number of classes.
    """

    predicted: Ints
    confidence: Floats
    truth: Ints
    groups: Ints
    classes: int


def recognition(name: str, found: Predictions) -> dict[str, Estimate]:
    """The metrics of a classifier: ``NAME`` (accuracy), ``NAME_macro_f1`` and ``NAME_ece``."""
    right = (found.predicted == found.truth).astype(np.float64)
    return {
        name: proportion(right, found.groups),
        f"{name}_macro_f1": macro_f1(found),
        f"{name}_ece": calibration_error(found.confidence, right, found.groups),
    }


def macro_f1(found: Predictions) -> Estimate:
    """The mean over classes of F1, over those that some item has or is taken for.

    The counts of several draws are added up before they are divided, which is less biased than a mean of F1s (Forman &
    Scholz 2010).
    """
    numerators = np.zeros((len(found.truth), found.classes), dtype=np.int32)
    denominators = np.zeros_like(numerators)
    items = np.arange(len(found.truth))
    each = []
    for predicted in found.predicted:
        right = predicted == found.truth
        np.add.at(numerators, (items[right], predicted[right]), 2)
        np.add.at(denominators, (items, found.truth), 1)
        np.add.at(denominators, (items, predicted), 1)
        each.append(_f1(predicted, found.truth, found.classes))
    return mean_of_ratios(numerators, denominators, found.groups, per_draw=np.array(each) if len(each) > 1 else None)


def _f1(predicted: Ints, truth: Ints, classes: int) -> float:
    taken, there = (np.bincount(numbers, minlength=classes) for numbers in (predicted, truth))
    hits = np.bincount(truth[predicted == truth], minlength=classes)
    known = taken + there > 0
    return float((2 * hits[known] / (taken + there)[known]).mean())


def confusion(found: Predictions) -> list[list[int]]:
    """The confusion matrix as ``[true class, predicted class, items]``, without zeros; draws are added up."""
    pairs = Counter(
        (int(true), int(said)) for row in found.predicted for true, said in zip(found.truth, row, strict=True)
    )
    return [[true, said, count] for (true, said), count in sorted(pairs.items())]


def stacked(answers: list[tuple[Ints, Floats]], truth: Ints, groups: Ints, classes: int) -> Predictions:
    """The answers of several draws, each classes and their probabilities ``(N,)``."""
    predicted: Any = np.stack([answer[0] for answer in answers])
    confidence: Any = np.stack([answer[1] for answer in answers]).astype(np.float64)
    return Predictions(predicted, confidence, truth, groups, classes)
