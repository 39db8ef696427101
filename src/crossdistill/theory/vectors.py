"""Paired held-out vectors, as everything in this package takes them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from crossdistill.theory.finite import Floats, Ints

_SMALL = 1e-100  # length


@dataclass(frozen=True, kw_only=True, eq=False)
class PairedVectors:
    """Row i of both sides shows the same thing. Build it with :meth:`of`, which checks and normalises.

    Attributes:
        source: ``(n, d)``, rows of length one (or zero), float64: the teacher's embeddings.
        target: ``(n, d)`` likewise: the student's. Its width may differ where only relations within are compared.
        ids: ``(n,)`` identity of each item; candidates of the anchor's identity are not compared with it.
        labels: ``(n,)`` class numbers, if known.
    """

    source: Floats
    target: Floats
    ids: Ints
    labels: Ints | None

    @classmethod
    def of(
        cls, source: ArrayLike, target: ArrayLike, *, ids: ArrayLike | None = None, labels: ArrayLike | None = None
    ) -> PairedVectors:
        """Vectors of any length; zero rows stay zero. Every item is an identity of its own unless ``ids`` says so.

        Raises:
            ValueError: shapes do not fit together, or a number is not finite.
        """
        sides = [unit_rows(source, what="source"), unit_rows(target, what="target")]
        if len(sides[0]) != len(sides[1]):
            raise ValueError(f"expected pairs, received {len(sides[0])} source and {len(sides[1])} target vectors")
        count = len(sides[0])
        return cls(
            source=sides[0],
            target=sides[1],
            ids=whole_numbers(np.arange(count) if ids is None else ids, count, what="ids"),
            labels=None if labels is None else whole_numbers(labels, count, what="labels"),
        )

    def __len__(self) -> int:
        return len(self.source)

    def rows(self, chosen: Ints) -> PairedVectors:
        """The pairs at these positions."""
        labels = None if self.labels is None else self.labels[chosen]
        return PairedVectors(
            source=self.source[chosen], target=self.target[chosen], ids=self.ids[chosen], labels=labels
        )

    def errors(self) -> Floats:
        """``eps_i = |z_i^B - z_i^A|`` ``(n,)``, in [0, 2].

        Raises:
            ValueError: the two spaces have different widths.
        """
        if self.source.shape != self.target.shape:
            raise ValueError(f"expected one space, received widths {self.source.shape[1]} and {self.target.shape[1]}")
        found: Floats = np.sqrt(((self.target - self.source) ** 2).sum(axis=1))
        return found


def unit_rows(vectors: ArrayLike, *, what: str) -> Floats:
    """Rows ``(n, d)`` of length one in float64; zero rows stay zero.

    Raises:
        ValueError: not two-dimensional, empty, or not finite.
    """
    rows = np.asarray(vectors, dtype=np.float64)
    if rows.ndim != 2 or 0 in rows.shape:
        raise ValueError(f"{what}: expected (n, d) with n, d >= 1, received {rows.shape}")
    if not np.isfinite(rows).all():
        raise ValueError(f"{what}: expected finite numbers")
    with np.errstate(over="ignore", under="ignore"):
        lengths = np.sqrt(np.einsum("nd,nd->n", rows, rows))[:, None]
    if ((lengths < _SMALL) | (lengths > 1 / _SMALL)).any():  # the squares of these are no numbers, or inexact
        largest = np.abs(rows).max(axis=1, keepdims=True)
        rows = rows / np.where(largest > 0, largest, 1.0)
        lengths = np.sqrt((rows**2).sum(axis=1, keepdims=True))
    found: Floats = rows / np.where(lengths > 0, lengths, 1.0)
    return found


def whole_numbers(values: ArrayLike, count: int, *, what: str) -> Ints:
    """``(count,)`` whole numbers.

    Raises:
        ValueError: another shape, or not whole.
    """
    found = np.asarray(values)
    if found.shape != (count,):
        raise ValueError(f"{what}: expected ({count},), received {found.shape}")
    if not np.issubdtype(found.dtype, np.integer) and not np.issubdtype(found.dtype, np.bool_):
        raise ValueError(f"{what}: expected whole numbers, received {found.dtype}")
    return found.astype(np.int64)


def positive(value: float, *, what: str) -> float:
    """A finite number above zero.

    Raises:
        ValueError: it is none.
    """
    if not np.isfinite(value) or value <= 0:
        raise ValueError(f"{what}: expected a finite number > 0, received {value}")
    return float(value)
