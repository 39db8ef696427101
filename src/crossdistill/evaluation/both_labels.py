"""Labels of both kinds together: many of source items, and a few of target items."""

from __future__ import annotations

import warnings

import numpy as np
from scipy.special import log_softmax, softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import StratifiedGroupKFold

from crossdistill.evaluation.intervals import Floats, Ints
from crossdistill.evaluation.probes import LinearProbe, Vectors

# How the two are put together was tried on furniture-depth (14 classes) and emoji (31), each with a contrastive student
# and one of regression, with 1, 2, 5, 10, 20 and all labels a class. One classifier fitted to both kinds (each label
# alike, the target's with 2, 4 or 8 times the weight, or with half of the total) was below a pool of two, on emoji even
# below the source's alone. In the pool no fixed share was good for both students, nor one by the numbers of labels:
# where the source's classifier transfers badly it costs up to ten points. Chosen by cross-validation it does not.
SHARES = np.linspace(0, 1, 11)
"""Shares of the source's classifier that are tried."""
SHARPNESS = np.geomspace(0.1, 4, 12)
"""Factors of the log probabilities that are tried with them: probes are surer than they should be, and without a factor
a share would be chosen that hides it."""
USUAL = (0.75, 1.0)  # where a class has too few labels to try any, about the share that is chosen with two

_JUDGED, _FOLDS = 500, 5  # items that a share is chosen by at most; parts that the labelled items are cut into at most


def pooled(source: Floats, target: Floats, share: float, sharpness: float) -> tuple[Ints, Floats]:
    """What two classifiers say together: a logarithmic opinion pool (Genest & Zidek 1986), the weighted mean of their
    log probabilities, times a factor.

    Args:
        source: log probabilities of the classes ``(T, C)``, by a classifier of labelled source items.
        target: likewise by one of labelled target items.
        share: of the source's.
        sharpness: the factor, which changes no class but how sure it is.

    Returns:
        Classes ``(T,)``, and their probabilities ``(T,)``.
    """
    scores = sharpness * (share * source + (1 - share) * target)
    found: Ints = scores.argmax(axis=1)
    return found, softmax(scores, axis=1).max(axis=1)


def choose_pool(source: Floats, vectors: Vectors, labels: Ints, groups: Ints) -> tuple[float, float]:
    """Share and sharpness with the least log loss on the labelled target items, each judged by a probe on the others.

    The items are cut by their groups into as many parts as the classes have labels, five at most: a probe on half of
    many labels would be weaker than the one on all that the share is chosen for, and the share too large. 500 items at
    most are judged. ``USUAL`` where most classes have one label, or there is one group.

    Args:
        source: log probabilities of the same items ``(n, C)`` by the source's classifier, which has seen none of them.
        vectors: of the items ``(n, d)``.
        labels: class numbers ``(n,)``.
        groups: ``(n,)``; items of one are alike, and kept on one side.
    """
    sizes = np.bincount(labels)
    parts = min(_FOLDS, int(np.median(sizes[sizes > 0])), len(np.unique(groups)))
    if parts < 2:
        return USUAL
    judged: list[Ints] = []
    left = _JUDGED
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The least populated class")
        warnings.simplefilter("ignore", ConvergenceWarning)  # nearly converged is enough to choose by
        target = np.empty_like(source)
        for seen, unseen in StratifiedGroupKFold(parts).split(vectors, labels, groups):
            if len(np.unique(labels[seen])) < 2:
                return USUAL
            some = unseen[np.random.default_rng(len(labels)).permutation(len(unseen))[:left]]
            probe = LinearProbe(vectors[seen], labels[seen])
            target[some] = log_probabilities(probe.scores(vectors[some]), probe.classes, source.shape[1])
            judged.append(some)
            left -= len(some)
            if left == 0:
                break
    rows = np.concatenate(judged)
    return best_pool(source[rows], target[rows], labels[rows])


def best_pool(source: Floats, target: Floats, labels: Ints) -> tuple[float, float]:
    """Share and sharpness of the pool with the least log loss.

    Args:
        source: log probabilities of items ``(n, C)`` that neither classifier has seen.
        target: likewise.
        labels: class numbers of the items ``(n,)``.
    """
    rows = np.arange(len(labels))
    losses = {
        (float(share), float(factor)): -log_softmax(factor * (share * source + (1 - share) * target), axis=1)[
            rows, labels
        ].mean()
        for share in SHARES
        for factor in SHARPNESS
    }
    return min(losses, key=lambda each: losses[each])


def log_probabilities(scores: Floats, known: Ints, classes: int) -> Floats:
    """Of a classifier that knows only some classes ``(k,)``, from its scores ``(T, k)``: ``(T, classes)``.

    Of the others it has no opinion: their log probability is that of a guess.
    """
    found = np.full((len(scores), classes), -np.log(classes))
    found[:, known] = log_softmax(scores, axis=1)
    return found
