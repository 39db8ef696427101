"""What the estimators are given, checked: vectors of two sides, and the groups that belong together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from crossdistill.evaluation.intervals import Floats, Ints

_TIMES = 10
FEWEST = 10  # groups a side; with fewer neither folds nor halves mean anything


@dataclass(frozen=True)
class Samples:
    """Two checked samples.

    Attributes:
        source: ``(n, d)``.
        target: ``(m, e)``.
        groups: number of each source item's group ``(n,)``, from 0 without gaps.
        target_groups: the same of each target item ``(m,)``.
        paired: whether row i of both sides is a pair; otherwise no group is on both sides.
        count: number of groups G.
    """

    source: Floats
    target: Floats
    groups: Ints
    target_groups: Ints
    paired: bool
    count: int

    @property
    def items(self) -> int:
        """Pairs, or items of both sides where there are none."""
        return len(self.source) if self.paired else len(self.source) + len(self.target)

    @property
    def strata(self) -> list[Ints]:
        """Groups that are drawn together: all of pairs, those of each side otherwise."""
        return [np.unique(self.groups)] if self.paired else [np.unique(self.groups), np.unique(self.target_groups)]

    def of_groups(self, mask: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> tuple[Ints, Ints]:
        """Rows of both sides whose group is in a mask ``(G,)``."""
        return np.flatnonzero(mask[self.groups]), np.flatnonzero(mask[self.target_groups])


def matrix(vectors: ArrayLike, name: str) -> Floats:
    """Vectors ``(n, d)`` in float64.

    Raises:
        ValueError: they are no table, or not finite.
    """
    found = np.asarray(vectors, dtype=np.float64)
    if found.ndim != 2 or found.shape[1] == 0:
        raise ValueError(f"{name} should be a table (items, dimensions), not of shape {found.shape}")
    if not np.isfinite(found).all():
        raise ValueError(f"{name} has {int((~np.isfinite(found)).any(axis=1).sum())} rows that are not finite")
    return found


def pairs(source: ArrayLike, target: ArrayLike, groups: ArrayLike | None = None) -> Samples:
    """Pairs in two spaces, which may differ.

    Args:
        source: ``(n, d)``.
        target: ``(n, e)``.
        groups: ``(n,)``, anything that `numpy.unique` sorts; each pair is a group of its own without it.

    Raises:
        ValueError: shapes differ, numbers are not finite, or there are fewer than 10 groups.
    """
    x, y = matrix(source, "source"), matrix(target, "target")
    if len(x) != len(y):
        raise ValueError(f"{len(x)} source and {len(y)} target items are no pairs")
    numbers = _numbers(groups, len(x), "groups")
    return Samples(x, y, numbers, numbers, True, _enough(numbers, "groups"))


def two_samples(
    source: ArrayLike, target: ArrayLike, groups: ArrayLike | None = None, target_groups: ArrayLike | None = None
) -> Samples:
    """Two samples in one space: pairs, unless ``target_groups`` are given.

    Args:
        source: ``(n, d)``.
        target: ``(m, d)``; row i is the partner of source row i where there are no ``target_groups``.
        groups: ``(n,)``, see `pairs`.
        target_groups: ``(m,)``, for samples that were drawn independently; none of them may be in ``groups``.

    Raises:
        ValueError: as in `pairs`; another number of dimensions; a group that is on both sides.
    """
    if target_groups is None:
        found = pairs(source, target, groups)
        x, y = found.source, found.target
    else:
        x, y = matrix(source, "source"), matrix(target, "target")
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"{x.shape[1]} and {y.shape[1]} dimensions are not one space")
    if target_groups is None:
        return found
    if groups is None:
        raise ValueError("target_groups are given, so groups are needed as well")
    names = np.concatenate([np.asarray(groups).ravel(), np.asarray(target_groups).ravel()])
    if np.isin(np.asarray(groups), np.asarray(target_groups)).any():
        raise ValueError("a group is on both sides: leave target_groups out for pairs, or name the groups apart")
    numbers = _numbers(names, len(x) + len(y), "groups and target_groups")
    _enough(numbers[: len(x)], "groups"), _enough(numbers[len(x) :], "target_groups")
    return Samples(x, y, numbers[: len(x)], numbers[len(x) :], False, int(numbers.max()) + 1)


def _numbers(groups: ArrayLike | None, count: int, name: str) -> Ints:
    if groups is None:
        return np.arange(count, dtype=np.int64)
    found = np.asarray(groups)
    if found.shape != (count,):
        raise ValueError(f"{name} should be one for each of {count} items, not of shape {found.shape}")
    return np.unique(found, return_inverse=True)[1].astype(np.int64)


def _enough(numbers: Ints, name: str) -> int:
    count = len(np.unique(numbers))
    if count < FEWEST:
        raise ValueError(f"{count} {name} are too few: at least {FEWEST} are needed")
    return count


def folds(groups: Ints, count: int, rng: np.random.Generator) -> Ints:
    """A fold from 0 to ``count`` - 1 for each item ``(n,)``: whole groups, and about as many items in each."""
    _, numbers, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    fold = np.zeros(len(sizes), dtype=np.int64)
    filled = np.zeros(count)
    order = rng.permutation(len(sizes))
    for group in order[np.argsort(-sizes[order], kind="stable")]:  # the largest first, or they would not fit
        fold[group] = int(filled.argmin())
        filled[fold[group]] += sizes[group]
    return fold[numbers]


def one_per_group(groups: Ints, rng: np.random.Generator) -> Ints:
    """A random row of each group, in the order of the groups ``(G,)``: independent items."""
    order = rng.permutation(len(groups))
    _, first = np.unique(groups[order], return_index=True)
    return order[first]


def several_per_group(samples: Samples, rng: np.random.Generator) -> list[Ints]:
    """`one_per_group` ten times over, or once where groups have one item each."""
    return [one_per_group(samples.groups, rng) for _ in range(_TIMES if samples.count < len(samples.source) else 1)]


def unit_rows(vectors: Floats) -> Floats:
    """Rows of length one, in float64.

    Raises:
        ValueError: a row is zero and has no direction.
    """
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    if (lengths == 0).any():
        raise ValueError(f"{int((lengths == 0).sum())} vectors are zero and have no direction")
    found: Floats = vectors / lengths
    return found
