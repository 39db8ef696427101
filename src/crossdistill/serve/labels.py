"""The label of a query, by the run's zero-shot protocol: learnt from labelled source items, applied to either side."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crossdistill.evaluation.probes import Ints, LinearProbe, Vectors, unit
from crossdistill.pairs import Side
from crossdistill.serve.certainty import Calibration, calibrate, label_features

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Labeller:
    """A linear classifier of source vectors; each modality is centred by its own training items first.

    Attributes:
        classes: names, in the order of the probabilities.
        probe: the classifier.
        means: of the unit vectors of each modality's training items, ``(d,)``.
        calibrations: how often the likeliest label is right; None where there are too few held-out labels.
    """

    classes: tuple[str, ...]
    probe: LinearProbe
    means: dict[Side, Vectors]
    calibrations: dict[Side, Calibration | None]

    def probabilities(self, vectors: Vectors, side: Side) -> Floats:
        """Of each class, ``(n, c)``, for vectors ``(n, d)``."""
        return probabilities(self.probe, vectors, self.means[side])


def probabilities(probe: LinearProbe, vectors: Vectors, mean: Vectors) -> Floats:
    """Class probabilities ``(n, c)`` of a probe, with another modality's mean in the place of its own."""
    weights, bias = probe.linear_map()
    # The map holds the probe's own mean: a vector that is shifted by the difference is centred by the other.
    scores = (unit(vectors) - mean + probe.mean) @ weights.T + bias
    scores -= scores.max(axis=1, keepdims=True)
    powers = np.exp(scores)
    found: Floats = powers / powers.sum(axis=1, keepdims=True)
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
    means = {"source": probe.mean, "target": unit(unlabelled["target"]).mean(axis=0)}
    known = probe.classes
    calibrations: dict[Side, Calibration | None] = {}
    for side, cases in held_out.items():
        calibrations[side] = None
        if len(cases.labels):
            found = probabilities(probe, cases.vectors, means[side])
            right = known[found.argmax(axis=1)] == cases.labels
            calibrations[side] = calibrate(label_features(found), right, cases.groups)
    names = tuple(classes[number] for number in known)
    return Labeller(names, probe, means, calibrations)  # type: ignore[arg-type]
