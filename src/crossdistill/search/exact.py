"""Exact search: the k rows of the largest dot product with each query, in bounded memory.

A product of single precision in blocks finds who may be among the k; these few are scored again in double precision,
pair by pair. So a score does not depend on what else was asked in the same call, and equal rows have equal scores.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossdistill.errors import ConfigError

Vectors = NDArray[np.float32]
Rows = NDArray[np.int64]

_QUERIES = 128  # at a time
_FIRST, _BLOCK = (
    4096,
    65536,
)  # rows of a block: of the first at least k, of each other as many as before it, up to these
_VALUES = 1 << 22  # of rows that are scored again at a time
_MOST = 1 << 20  # pairs of query and row that may wait for it
_UNIT = 1e-3  # by which the length of a vector may differ from 1


def nearest(queries: Vectors, vectors: Vectors, k: int) -> tuple[Rows, Vectors]:
    """The ``k`` nearest rows of each query.

    Args:
        queries: ``(Q, d)``, unit length.
        vectors: ``(N, d)``, unit length; it may be mapped from a disk.
        k: at least 1; of fewer rows all are found.

    Returns:
        Row numbers and their scores, both ``(Q, min(k, N))``: from the largest score to the smallest, equal scores by
        row.
    """
    k = min(k, len(vectors))
    rows = np.empty((len(queries), k), dtype=np.int64)
    scores = np.empty((len(queries), k), dtype=np.float32)
    step = max(1, _QUERIES * _BLOCK // max(k, _BLOCK))
    for start in range(0, len(queries) if k else 0, step):
        stop = start + step
        rows[start:stop], scores[start:stop] = _nearest(np.ascontiguousarray(queries[start:stop]), vectors, k)
    return rows, scores


def rescored(queries: Vectors, vectors: Vectors, which: Rows, rows: Rows) -> Vectors:
    """The scores of some pairs, ``(P,)``, each summed by itself in double precision.

    Args:
        queries: ``(Q, d)``.
        vectors: ``(N, d)``.
        which: the query of each pair, ``(P,)``.
        rows: its row, ``(P,)``.
    """
    found = np.empty(len(rows), dtype=np.float32)
    step = max(1, _VALUES // vectors.shape[1])
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        products = vectors[rows[part]].astype(np.float64)
        products *= queries[which[part]]
        found[part] = products.sum(axis=1)
    return np.clip(found, -1, 1)  # what rounding adds is no similarity


def best(which: Rows, rows: Rows, scores: Vectors, k: int) -> NDArray[np.intp]:
    """Of pairs the places of the ``k`` best of each query: by query, then from the best on, equal scores by row."""
    order = np.lexsort((rows, -scores, which))
    return order[_rank(which[order]) < k]


def unit_vectors(vectors: Any, width: int, what: str) -> Vectors:
    """Checked ``(n, width)`` float32.

    Raises:
        ConfigError: of another shape, not finite, or not of unit length.
    """
    try:
        with np.errstate(over="ignore"):
            found = np.ascontiguousarray(vectors, dtype=np.float32)
        shape: object = tuple(found.shape)
    except (TypeError, ValueError) as error:
        found, shape = np.empty(0, dtype=np.float32), error
    if found.ndim != 2 or found.shape[1] != width:
        raise ConfigError(
            "Vectors have another shape than those of the index.", where=what, expected=f"(n, {width})", received=shape
        )
    lengths = np.sqrt(np.einsum("ij,ij->i", found, found, dtype=np.float64))
    wrong = ~(np.abs(lengths - 1) <= _UNIT)  # also of what is not finite
    if wrong.any():
        first = int(wrong.argmax())
        raise ConfigError(
            "A vector is not of unit length.", where=f"{what}, row {first}", expected="finite values, length 1",
            received=f"length {lengths[first]:.4g}", fix="take them from CrossModalModel.embed, or normalise them",
        )  # fmt: skip
    return found


def _nearest(queries: Vectors, vectors: Vectors, k: int) -> tuple[Rows, Vectors]:
    """``(Q, k)`` each, of a few queries; there are at least k rows."""
    count, width = vectors.shape
    # Both of two scores may be off by the rounding of `width` products of values whose squares sum to 1.
    margin = np.float32(2 * (width + 4) * 2.0**-24)
    floor = np.full(len(queries), -np.inf, dtype=np.float32)
    which, rows = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    scores = np.empty(0, dtype=np.float32)
    start = 0
    while start < count:
        stop = min(count, start + min(max(start, _FIRST), _BLOCK) if start else max(_FIRST, k))
        block = queries @ vectors[start:stop].T
        if start == 0:
            floor = np.partition(block, -k, axis=1)[:, -k] - margin
        more_which, more_rows = np.nonzero(block >= floor[:, None])
        which, rows = np.concatenate([which, more_which]), np.concatenate([rows, more_rows + start])
        scores = np.concatenate([scores, block[more_which, more_rows]])
        if len(rows) > _MOST:  # many rows are as good as equal: settle who stays
            kept = best(which, rows, rescored(queries, vectors, which, rows), k)
        else:
            kept = best(which, rows, scores, len(rows))
            which, rows, scores = which[kept], rows[kept], scores[kept]
            floor = scores[_rank(which) == k - 1] - margin
            kept = np.flatnonzero(scores >= floor[which])
        which, rows, scores = which[kept], rows[kept], scores[kept]
        start = stop
    final = rescored(queries, vectors, which, rows)
    kept = best(which, rows, final, k)
    return rows[kept].reshape(len(queries), k), final[kept].reshape(len(queries), k)


def _rank(which: Rows) -> Rows:
    """Of sorted query numbers the place of each among those of its query."""
    starts = np.flatnonzero(np.diff(which, prepend=-1))
    lengths = np.diff(np.append(starts, len(which)))
    return np.arange(len(which)) - np.repeat(starts, lengths)
