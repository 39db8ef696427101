"""Retrieval across modalities: whose partner is it?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from crossdistill.errors import EncoderError
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

    Raises:
        EncoderError: a vector is not finite: whatever is compared with NaN is neither nearer nor farther, so such a
            query would rank first.
    """
    similarity = _similarity(queries, gallery)
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
    """The ``count`` nearest gallery items of each query ``(Q, count)`` and their cosine similarities.

    Raises:
        EncoderError: a vector is not finite.
    """
    similarity = _similarity(queries, gallery)
    order = np.argsort(-similarity, axis=1, kind="stable")[:, :count]
    return order, np.take_along_axis(similarity, order, axis=1)


def _similarity(queries: Vectors, gallery: Vectors) -> Vectors:
    """Cosine similarities ``(Q, G)`` of finite vectors."""
    for name, vectors in (("query", queries), ("gallery item", gallery)):
        wrong = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
        if len(wrong):
            raise EncoderError(
                "An embedding is not finite, so it has no neighbours.", where=f"{name} {wrong[0]}, counted from 0",
                expected="numbers", received=f"NaN or infinite values in {len(wrong)} of {len(vectors)}",
            )  # fmt: skip
    found: Vectors = unit(queries) @ unit(gallery).T
    return found
