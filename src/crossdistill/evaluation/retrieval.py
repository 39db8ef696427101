"""Retrieval across modalities: whose partner is it?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from crossdistill.evaluation.intervals import Estimate, Ints, median, proportion
from crossdistill.evaluation.probes import Vectors, unit

RECALL_AT = (1, 5, 10)


def ranks(queries: Vectors, gallery: Vectors, query_ids: Ints, gallery_ids: Ints) -> Ints:
    """For each query the rank ``(Q,)`` of the best gallery item that has its id, by cosine similarity, 1 is first.

    Ties count against the query, so a constant embedding ranks last and not first.

    Args:
        queries: ``(Q, d)``.
        gallery: ``(G, d)``.
        query_ids: ``(Q,)``; each id must occur in the gallery.
        gallery_ids: ``(G,)``.
    """
    similarity = unit(queries) @ unit(gallery).T
    own = query_ids[:, None] == gallery_ids[None, :]
    if not own.any(axis=1).all():
        raise ValueError("a query has no partner in the gallery")
    best = np.where(own, similarity, -np.inf).max(axis=1)
    found: Ints = 1 + ((similarity >= best[:, None]) & ~own).sum(axis=1)
    return found


def recall(found: Ints, groups: Ints, prefix: str) -> dict[str, Estimate]:
    """R@1, R@5, R@10 and the median rank, named ``{prefix}_r@1`` and so on."""
    measured = {f"{prefix}_r@{k}": proportion((found <= k).astype(np.float64), groups) for k in RECALL_AT}
    return {**measured, f"{prefix}_median_rank": median(found.astype(np.float64), groups)}


def top(queries: Vectors, gallery: Vectors, count: int) -> tuple[Ints, NDArray[np.float32]]:
    """The ``count`` nearest gallery items of each query ``(Q, count)`` and their cosine similarities."""
    similarity = unit(queries) @ unit(gallery).T
    order = np.argsort(-similarity, axis=1, kind="stable")[:, :count]
    return order, np.take_along_axis(similarity, order, axis=1)
