"""Labels of both kinds together: many of source items, and a few of target items."""

from __future__ import annotations

import numpy as np
from scipy.special import log_softmax, softmax

from crossdistill.evaluation.intervals import Floats, Ints

# Tried on furniture-depth (14 classes) and emoji (31), with 1, 2, 5, 10, 20 and all labels a class: one classifier
# fitted to both kinds (each label alike, the target's with 2, 4 or 8 times the weight, or with half of the total) is
# below the pool of two, on emoji even below the source's classifier alone. Equal say is best with 10 labels a class or
# more, a larger one of the source with fewer; powers of 0, 1/4, 1/2 and 1 of the ratio were compared, and this loses
# least.
_POWER = 0.25


def pooled(source: Floats, target: Floats, source_labels: int, target_labels: int) -> tuple[Ints, Floats]:
    """What two classifiers say together: the mean of their log probabilities (a logarithmic opinion pool, Genest &
    Zidek 1986), the source's with a say of 1, the target's with ``(target_labels / source_labels) ** 1/4``.

    Args:
        source: log probabilities of the classes ``(T, C)``, by a classifier of labelled source items.
        target: likewise by one of labelled target items.
        source_labels: number of labels behind the one.
        target_labels: behind the other.

    Returns:
        Classes ``(T,)``, and their probabilities ``(T,)``.
    """
    say = (target_labels / source_labels) ** _POWER
    scores = (source + say * target) / (1 + say)
    found: Ints = scores.argmax(axis=1)
    return found, softmax(scores, axis=1).max(axis=1)


def log_probabilities(scores: Floats, known: Ints, classes: int) -> Floats:
    """Of a classifier that knows only some classes ``(k,)``, from its scores ``(T, k)``: ``(T, classes)``.

    Of the others it has no opinion: their log probability is that of a guess.
    """
    found = np.full((len(scores), classes), -np.log(classes))
    found[:, known] = log_softmax(scores, axis=1)
    return found
