"""The label of a query, by the run's zero-shot protocol: learnt from labelled source items, applied to either side."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from crossdistill.evaluation.probes import Ints, LinearProbe, Vectors, unit
from crossdistill.pairs import Side
from crossdistill.serve.certainty import Calibration, calibrate, label_features

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Labeller:
    """A linear classifier of source vectors; each modality is centred by its own training items first.

    Attributes:
        classes: names, in the order of the probabilities.
        numbers: the classes' numbers in the run's pairs, ``(c,)``.
        weights: of unit vectors, ``(c, d)``.
        biases: for each modality, ``(c,)``.
        calibrations: how often the likeliest label is right; None where there are too few held-out labels.
    """

    classes: tuple[str, ...]
    numbers: Ints
    weights: Floats
    biases: dict[Side, Floats]
    calibrations: dict[Side, Calibration | None] = field(default_factory=dict)

    def probabilities(self, vectors: Vectors, side: Side) -> Floats:
        """Of each class, ``(n, c)``, for vectors ``(n, d)``."""
        found: Floats = softmax(unit(vectors) @ self.weights.T + self.biases[side], axis=1)
        return found


@dataclass(frozen=True)
class Labelled:
    """Vectors with class numbers and groups."""

    vectors: Vectors
    labels: Ints
    groups: Ints


def make_labeller(
    classes: tuple[str, ...], train: Labelled, unlabelled: dict[Side, Vectors], held_out: dict[Side, Labelled]
) -> Labeller | None:
    """The classifier; None without labelled source items of two classes.

    Args:
        classes: names by class number.
        train: labelled source training items.
        unlabelled: all training items of each modality, ``(n, d)``.
        held_out: labelled items outside of training, of each modality.
    """
    if len(np.unique(train.labels)) < 2:
        return None
    probe = LinearProbe(train.vectors, train.labels)
    weights, bias = probe.linear_map()
    # The map centres by the probe's own mean; another bias has it centre by the target's.
    shift = probe.mean - unit(unlabelled["target"]).mean(axis=0)
    biases: dict[Side, Floats] = {"source": bias, "target": bias + weights @ shift}
    made = Labeller(tuple(classes[number] for number in probe.classes), probe.classes, weights, biases)
    for side, cases in held_out.items():
        made.calibrations[side] = None
        if len(cases.labels):
            found = made.probabilities(cases.vectors, side)
            right = made.numbers[found.argmax(axis=1)] == cases.labels
            made.calibrations[side] = calibrate(label_features(found), right, cases.groups)
    return made
