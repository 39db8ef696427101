"""Retrieval across modalities: whose partner is it?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from crossdistill.errors import EncoderError
from crossdistill.evaluation.intervals import Estimate, Ints, median, proportion
from crossdistill.evaluation.probes import Vectors, unit

RECALL_AT = (1, 5, 10)
_FEWEST_PARTNERED = 0.1  # of the items: a source that stands there twice by chance makes no task


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
    """R@1, R@5, R@10, mean reciprocal rank and median rank, named ``{prefix}_r@1``, ``{prefix}_mrr`` and so on."""
    measured = {f"{prefix}_r@{k}": proportion((found <= k).astype(np.float64), groups) for k in RECALL_AT}
    measured[f"{prefix}_mrr"] = proportion(1 / found, groups)
    return {**measured, f"{prefix}_median_rank": median(found.astype(np.float64), groups)}


def same_side(vectors: Vectors, ids: Ints, groups: Ints) -> tuple[Ints, Ints] | None:
    """Retrieval within a modality by way of the other: for an item another one that shares its source, such as the name
    of the same picture in another language (Harwath et al., arXiv 1804.03052).

    The gallery of a query is all other items but those of its own group that show another source: whether these are
    alike nobody has said.

    Args:
        vectors: ``(N, d)``.
        ids: identity of each item's source ``(N,)``.
        groups: ``(N,)``.

    Returns:
        Positions of the items that have a partner ``(Q,)``, and the rank of the nearest partner ``(Q,)``, 1 is first;
        None where fewer than a tenth of the items have one.
    """
    _, place, sizes = np.unique(ids, return_inverse=True, return_counts=True)
    chosen = np.flatnonzero(sizes[place] > 1)
    if len(chosen) < max(1, _FEWEST_PARTNERED * len(ids)):
        return None
    similarity = _similarity(vectors[chosen], vectors)
    same = ids[chosen][:, None] == ids[None, :]
    own = same.copy()
    own[np.arange(len(chosen)), chosen] = False
    counted = ~same & (groups[chosen][:, None] != groups[None, :])
    best = np.where(own, similarity, -np.inf).max(axis=1)
    found: Ints = 1 + ((similarity >= best[:, None]) & counted).sum(axis=1)
    return chosen, found


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
