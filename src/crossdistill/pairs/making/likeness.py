"""Groups of drawings that look alike, so that no split puts a copy of a training drawing into the test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from crossdistill.pairs.table import Pair

SIDE = 24  # pixels that drawings are compared at
ALIKE = 0.95  # correlation of their pixels from which two drawings are one: a bird and a black bird, not two birds


def join_alike(rows: Sequence[Pair], sides: Sequence[Literal["source", "target"]]) -> list[Pair]:
    """The rows, with one group for those that look alike on a side, and for all that share a group with them.

    A group keeps the name that comes first. Files are pictures on a white background.
    """
    names = {group: number for number, group in enumerate(dict.fromkeys(row.group for row in rows))}
    joined = list(range(len(names)))

    def root(number: int) -> int:
        while joined[number] != number:
            number = joined[number]
        return number

    groups = [names[row.group] for row in rows]
    for side in sides:
        ink = np.stack([_ink(str(getattr(row, side))) for row in rows])
        for first, second in np.argwhere(np.triu(ink @ ink.T >= ALIKE, k=1)):
            low, high = sorted((root(groups[first]), root(groups[second])))
            joined[high] = low
    kept = list(names)
    return [replace(row, group=kept[root(group)]) for row, group in zip(rows, groups, strict=True)]


def _ink(path: str) -> NDArray[np.float32]:
    """A drawing's colours as a vector of mean 0 and length 1, of which inner products are correlations."""
    with Image.open(path) as opened:
        small = opened.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX)
    values: NDArray[np.float32] = np.asarray(small, dtype=np.float32).ravel()
    values = values - values.mean()
    length = float(np.linalg.norm(values))
    return values / np.float32(length or 1.0)
