"""The vectors of benchmarks/search.py, see there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

WIDTH, CENTRES, NOISE = 128, 3000, 0.5
PIECE = 50_000  # vectors that are made at a time

Draw = Callable[[int, int], NDArray[np.float32]]
"""How many, and a seed, to vectors of unit length, ``(n, d)``."""


def _unit(values: NDArray[np.float64]) -> NDArray[np.float32]:
    unit: NDArray[np.float32] = (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)
    return unit


def made(count: int, seed: int) -> NDArray[np.float32]:
    """Vectors around centres; the centres are the same for every seed."""
    centres = _unit(np.random.default_rng(0).normal(size=(CENTRES, WIDTH)))
    drawn = np.random.default_rng([1, seed])
    weights = 1 / np.arange(1, CENTRES + 1)
    which = drawn.choice(CENTRES, count, p=weights / weights.sum())
    spread = drawn.lognormal(0, 0.3, (count, 1))
    return _unit(centres[which] + spread * drawn.normal(size=(count, WIDTH)) / np.sqrt(WIDTH))


def real(embeddings: NDArray[np.float32], count: int, seed: int) -> NDArray[np.float32]:
    """Embeddings, drawn with replacement, each with something added."""
    drawn = np.random.default_rng([2, seed])
    width = embeddings.shape[1]
    noise = NOISE * drawn.normal(size=(count, width)) / np.sqrt(width)
    return _unit(embeddings[drawn.integers(0, len(embeddings), count)] + noise)


def write_vectors(path: Path, count: int, draw: Draw) -> None:
    """``count`` vectors as an NPY file, drawn in pieces."""
    width = draw(1, 0).shape[1]
    values = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(count, width))
    for number, start in enumerate(range(0, count, PIECE)):
        values[start : start + PIECE] = draw(min(PIECE, count - start), number + 1)
    values.flush()
