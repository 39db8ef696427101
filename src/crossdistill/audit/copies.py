"""Copies among the items of one side: equal bytes, and items that look the same after a small change."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from torch.nn.functional import grid_sample

from crossdistill.audit.gather import Gathered
from crossdistill.evaluation.intervals import Ints

SIMILAR = 0.985  # least correlation of two outlines, after alignment, that makes them copies
_DETAIL, _COARSE = 0.9, 2.0  # least correlation of what is finer than so many cells
_CANDIDATE = 0.9  # least correlation of coarser outlines without alignment
_SAME_VECTOR = 0.9995
_TYPICAL = 0.25  # quantile of all items' nearest neighbours,
_CLOSER, _CLOSER_DETAIL = 10.0, 4.0  # than which a copy is so many times closer
_NEIGHBOURS = 20  # candidates of each item
_CHUNK = 1024  # items compared with all others at a time
_PAIRS = 512  # candidates aligned at a time
_STEADY = 1e-3  # keeps the alignment of flat items solvable
_FAINT_GAIN, _FARTHEST = 0.2, 2.0  # gain below which no move is believed, and cells that one may have


@dataclass(frozen=True)
class Copies:
    """Clusters of copies.

    Attributes:
        cluster: number of each item's cluster ``(n,)``; an item without copies is one of its own.
        exact: number of each item's set of equal bytes ``(n,)``.
        threshold: correlation from which on two items counted as copies.
        closest: for each item the largest correlation with another one of its cluster ``(n,)``; 1 for equal bytes.
    """

    cluster: Ints
    exact: Ints
    threshold: float
    closest: NDArray[np.float32]


def find_copies(seen: Gathered) -> Copies:
    """Clusters of items of equal bytes or of nearly equal outlines; what could not be decoded is in none.

    Items are compared all against all by the correlation of 16 x 16 outlines, in chunks; the nearest are aligned and
    compared at 32 x 32, as they are and without their coarse structure: depth maps of two rooms may differ in detail
    alone. Where all items of a set look much alike (spectrograms of one voice) a copy has to be ten times closer than
    their nearest neighbours usually are.
    """
    exact = _numbered(seen.digests)
    first: dict[int, int] = {}
    for number in np.flatnonzero(seen.readable):
        first.setdefault(int(exact[number]), int(number))
    chosen = np.array(sorted(first.values()), dtype=np.int64)
    chosen = chosen[~seen.constant[chosen]] if len(chosen) else chosen  # blank items are told of by another check
    closest = np.zeros(len(seen.items), dtype=np.float32)
    _, sizes = np.unique(exact, return_counts=True)
    closest[(sizes[exact] > 1) & seen.readable] = 1.0
    if seen.outlines is None or len(chosen) < 2:
        return Copies(exact, exact, SIMILAR, closest)
    vectors = seen.outlines.ndim == 2
    pairs = _candidates(seen.outlines, chosen, _SAME_VECTOR if vectors else _CANDIDATE)
    if vectors:
        alike, threshold = np.ones(len(pairs), dtype=np.float32), _SAME_VECTOR
    else:
        alike, detail = _aligned(seen.outlines, pairs).T
        threshold = _threshold(alike, pairs, len(chosen), SIMILAR, _CLOSER)
        same = (alike >= threshold) & (detail >= _threshold(detail, pairs, len(chosen), _DETAIL, _CLOSER_DETAIL))
        pairs, alike = pairs[same], alike[same]
    for end in (0, 1):
        np.maximum.at(closest, pairs[:, end], alike)
    twins = [(first[int(exact[number])], int(number)) for number in np.flatnonzero(seen.readable)]
    return Copies(_joined(len(seen.items), [*map(tuple, pairs.tolist()), *twins]), exact, threshold, closest)


def _numbered(digests: Sequence[str]) -> Ints:
    """A number for each digest; items without one are all different."""
    numbers: dict[str, int] = defaultdict(lambda: len(numbers))
    return np.array([numbers[digest or f"item {place}"] for place, digest in enumerate(digests)], dtype=np.int64)


def _candidates(outlines: NDArray[np.float16], chosen: Ints, least: float) -> Ints:
    """Pairs of item numbers ``(M, 2)`` whose coarse outlines correlate by at least ``least``."""
    coarse = _coarse(outlines, chosen)
    found: set[tuple[int, int]] = set()
    for start in range(0, len(chosen), _CHUNK):
        alike = coarse[start : start + _CHUNK] @ coarse.T
        here = np.arange(len(alike))
        alike[here, start + here] = -1.0
        most = min(_NEIGHBOURS, alike.shape[1] - 1)
        nearest = np.argpartition(-alike, most - 1, axis=1)[:, :most]
        for row, columns in enumerate(nearest):
            for column in columns[alike[row, columns] >= least]:
                found.add((min(start + row, int(column)), max(start + row, int(column))))
    return chosen[np.array(sorted(found), dtype=np.int64).reshape(-1, 2)]


def _coarse(outlines: NDArray[np.float16], chosen: Ints) -> NDArray[np.float32]:
    """Outlines at half their resolution, blurred again, as unit vectors; of vectors these themselves."""
    rows = []
    for start in range(0, len(chosen), _CHUNK):
        part = outlines[chosen[start : start + _CHUNK]].astype(np.float32)
        if part.ndim == 4:
            part = gaussian_filter(part, (0, 0, 3**0.5, 3**0.5), mode="nearest")
            part = part.reshape(*part.shape[:2], part.shape[2] // 2, 2, -1, 2).mean(axis=(3, 5))
        rows.append(part.reshape(len(part), -1))
    flat = np.concatenate(rows)
    flat -= flat.mean(axis=1, keepdims=True)
    unit: NDArray[np.float32] = flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)
    return unit


def _aligned(outlines: NDArray[np.float16], pairs: Ints) -> NDArray[np.float32]:
    """For each pair the smaller of both directions' :func:`aligned_correlation`, and that of the details ``(M, 2)``."""
    found = [np.zeros((0, 2), dtype=np.float32)]
    for start in range(0, len(pairs), _PAIRS):
        one, other = (outlines[pairs[start : start + _PAIRS, end]].astype(np.float32) for end in (0, 1))
        kinds = ((one, other), (_details(one), _details(other)))
        found.append(np.stack([np.minimum(aligned_correlation(a, b), aligned_correlation(b, a)) for a, b in kinds], 1))
    return np.concatenate(found)


def _details(outlines: NDArray[np.float32]) -> NDArray[np.float32]:
    """Outlines without their coarse structure, of unit variance."""
    fine = outlines - gaussian_filter(outlines, (0, 0, _COARSE, _COARSE), mode="nearest")
    scaled: NDArray[np.float32] = fine / np.maximum(fine.std(axis=(1, 2, 3), keepdims=True), 1e-6)
    return scaled


def aligned_correlation(wanted: NDArray[np.float32], given: NDArray[np.float32]) -> NDArray[np.float32]:
    """Correlation of outlines ``(M, P, H, W)`` with what a small change makes of others ``(M,)``.

    The change is gain, offset, shift, zoom and turn: a least-squares fit of ``wanted`` by ``given`` and its
    derivatives (one-sided tangent distance; Simard et al., 1993), and a second one after the move that the first found.
    """
    found, fitted = _fit(wanted, given)
    again, _ = _fit(wanted, _moved(given, fitted))
    return np.maximum(found, again)


def _fit(wanted: NDArray[np.float32], given: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The correlation ``(M,)`` and the coefficients ``(M, 5)`` of gain, shift down, shift across, zoom and turn."""
    count, _, height, width = given.shape
    down, across = np.gradient(given, axis=2), np.gradient(given, axis=3)
    y, x = _places(height, width)
    parts = [given, down, across, down * y + across * x, down * x - across * y]
    basis = np.stack(parts, axis=1).reshape(count, len(parts), -1)
    basis -= basis.mean(axis=2, keepdims=True)
    flat = wanted.reshape(count, -1)
    flat = flat - flat.mean(axis=1, keepdims=True)
    products = basis @ basis.transpose(0, 2, 1) + _STEADY * np.eye(len(parts), dtype=np.float32)
    against = basis @ flat[:, :, None]
    coefficients = np.linalg.solve(products, against)
    share: NDArray[np.float32] = (coefficients * against).sum(axis=(1, 2)) / np.maximum((flat**2).sum(axis=1), 1e-6)
    return np.sqrt(np.clip(share, 0, 1)), coefficients[:, :, 0]


def _moved(given: NDArray[np.float32], fitted: NDArray[np.float32]) -> NDArray[np.float32]:
    """Outlines resampled by the moves that were fitted, two cells at most."""
    height, width = given.shape[2:]
    y, x = _places(height, width)
    gain = np.where(
        np.abs(fitted[:, 0]) < _FAINT_GAIN, np.inf, fitted[:, 0]
    )  # of what does not match, nothing is moved
    shift_down, shift_across, zoom, turn = fitted[:, 1:].T[:, :, None, None] / gain[:, None, None]
    moves = [np.clip(each, -_FARTHEST, _FARTHEST) for each in
             (shift_down + zoom * y + turn * x, shift_across + zoom * x - turn * y)]  # fmt: skip
    row, column = np.mgrid[0:height, 0:width]
    grid = np.stack([(column + moves[1]) * 2 / (width - 1) - 1, (row + moves[0]) * 2 / (height - 1) - 1], axis=-1)
    sampled: NDArray[np.float32] = grid_sample(
        torch.from_numpy(given), torch.from_numpy(grid.astype(np.float32)), mode="bicubic", padding_mode="border",
        align_corners=True,
    ).numpy()  # fmt: skip
    return sampled


def _places(height: int, width: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Rows and columns of cells, from -0.5 to 0.5."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    return y / height - 0.5, x / width - 0.5


def _threshold(alike: NDArray[np.float32], pairs: Ints, count: int, least: float, closer: float) -> float:
    """``least``, or more where the nearest neighbours of most items are so close anyway."""
    nearest: dict[int, float] = defaultdict(float)
    for (a, b), near in zip(pairs.tolist(), alike.tolist(), strict=True):
        nearest[a], nearest[b] = max(nearest[a], near), max(nearest[b], near)
    every = np.zeros(count)
    every[: len(nearest)] = list(nearest.values())
    typical = float(np.quantile(every, _TYPICAL))
    return max(least, 1 - (1 - typical) / closer)


def _joined(count: int, links: Sequence[tuple[int, int]]) -> Ints:
    """Numbers of the connected components."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ends = np.array(links, dtype=np.int64).reshape(-1, 2)
    graph = coo_array((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(count, count))
    numbers: Ints = connected_components(graph, directed=False)[1].astype(np.int64)
    return numbers
