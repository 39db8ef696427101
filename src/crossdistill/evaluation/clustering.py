"""Whether the classes are there without any label: k-means on the embeddings, compared with the classes."""

from __future__ import annotations

import numpy as np
from scipy.special import xlogy
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

from crossdistill.evaluation.intervals import Estimate, Floats, Ints, of_sums
from crossdistill.evaluation.probes import Vectors, unit

STARTS = 10  # of k-means, of which the tightest clustering is taken


def clusters(vectors: Vectors, count: int, seed: int) -> Ints:
    """The cluster ``(N,)`` of each of ``(N, d)`` vectors: k-means on unit vectors, the best of ``STARTS`` starts.

    Args:
        vectors: of the items.
        count: number of clusters; of fewer items each is one.
        seed: of the starts.
    """
    with threadpool_limits(limits=1):  # the threads' order of adding up would be in the result
        found = KMeans(min(count, len(vectors)), n_init=STARTS, random_state=seed).fit_predict(unit(vectors))
    return np.asarray(found, dtype=np.int64)


def agreement(found: Ints, truth: Ints, groups: Ints, prefix: str) -> dict[str, Estimate]:
    """Normalised mutual information (by the arithmetic mean of the entropies) and adjusted Rand index of a clustering.

    Named ``{prefix}_nmi`` and ``{prefix}_ari``. The intervals take the clusters as they are: they cover the choice of
    the items, not that of the clustering.

    Args:
        found: cluster numbers ``(N,)``.
        truth: class numbers ``(N,)``.
        groups: ``(N,)``.
        prefix: of the names.
    """
    table = np.zeros((len(found), int(found.max()) + 1, int(truth.max()) + 1), dtype=np.uint8)
    table[np.arange(len(found)), found, truth] = 1
    return {
        f"{prefix}_nmi": of_sums(mutual_information, table, groups),
        f"{prefix}_ari": of_sums(adjusted_rand, table, groups, low=-0.5),
    }


def mutual_information(tables: Floats) -> Floats:
    """Normalised mutual information of contingency tables ``(R, clusters, classes)``; 1 where both sides are one."""
    share = tables / tables.sum(axis=(1, 2), keepdims=True)
    rows, columns = share.sum(axis=2), share.sum(axis=1)
    both = xlogy(share, share).sum(axis=(1, 2))
    first, second = (-xlogy(each, each).sum(axis=1) for each in (rows, columns))
    mean = (first + second) / 2
    found: Floats = np.divide(first + second + both, mean, out=np.ones(len(tables)), where=mean > 1e-12)
    return np.clip(found, 0.0, 1.0)


def adjusted_rand(tables: Floats) -> Floats:
    """Adjusted Rand index (Hubert & Arabie 1985) of contingency tables ``(R, clusters, classes)``."""

    def pairs(counts: Floats) -> Floats:
        found: Floats = counts * (counts - 1) / 2
        return found

    together = pairs(tables).sum(axis=(1, 2))
    rows, columns = pairs(tables.sum(axis=2)).sum(axis=1), pairs(tables.sum(axis=1)).sum(axis=1)
    chance = rows * columns / np.maximum(pairs(tables.sum(axis=(1, 2))), 1)
    most = (rows + columns) / 2 - chance
    found: Floats = np.divide(together - chance, most, out=np.ones(len(tables)), where=np.abs(most) > 1e-12)
    return found
