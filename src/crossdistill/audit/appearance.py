"""What an item looks like, in numbers that need no encoder and mean something for every kind of grid."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

_PLANES = 4  # that are kept of a stack of bands or frames
OUTLINE = 32  # side of the outline
_BLUR = 1.0  # cells; makes a shift by part of a cell a small change
_GRID, _CELLS, _ANGLES = 16, 8, 8


def planes(values: Tensor) -> NDArray[np.float32] | None:
    """A decoded item ``(..., H, W)`` as at most four planes ``(P, H, W)``, neighbours averaged; None for vectors.

    Values of 8 bits are brought to 0..1, others are left as their modality has scaled them.
    """
    if values.ndim < 2:
        return None
    scale = 255 if values.dtype == torch.uint8 else 1
    grid: NDArray[np.float32] = (values.float() / scale).reshape(-1, *values.shape[-2:]).numpy()
    if len(grid) > _PLANES:
        grid = np.stack([part.mean(axis=0) for part in np.array_split(grid, _PLANES)])
    return grid


def outline(grid: NDArray[np.float32]) -> NDArray[np.float16]:
    """Area averages ``(P, 32, 32)``, blurred, without their mean, of unit variance; zero for a constant item."""
    small = gaussian_filter(_pooled(grid, OUTLINE), (0, _BLUR, _BLUR), mode="nearest")
    small = small - small.mean()
    scaled: NDArray[np.float16] = (small / max(float(small.std()), 1e-6)).astype(np.float16)
    return scaled


def pixels(grid: NDArray[np.float32]) -> NDArray[np.float16]:
    """Area averages ``(P * 256,)``."""
    return _pooled(grid, _GRID).ravel().astype(np.float16)


def edges(grid: NDArray[np.float32]) -> NDArray[np.float16]:
    """Strength of edges by place and angle ``(512,)``: 8 x 8 cells of 8 angles, as in HOG (Dalal and Triggs, 2005).

    Of several planes the one with the strongest gradient counts at each place. Angles are shared out linearly and
    strengths enter by their root; cells are not normalised against their neighbours.
    """
    down, across = (_gradient(grid, axis) for axis in (1, 2))
    strength = np.hypot(down, across)
    strongest = strength.argmax(axis=0)[None]
    down, across, strength = (np.take_along_axis(each, strongest, 0)[0] for each in (down, across, strength))
    angle = (np.arctan2(down, across) % np.pi) / np.pi * _ANGLES
    away = np.abs(angle[None] - np.arange(_ANGLES)[:, None, None])
    shares = np.clip(1 - np.minimum(away, _ANGLES - away), 0, 1) * strength
    strengths: NDArray[np.float16] = np.sqrt(_pooled(shares, _CELLS)).ravel().astype(np.float16)
    return strengths


def _gradient(grid: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    """Along an axis of the grid; zero where it has one cell alone."""
    if grid.shape[axis] < 2:
        return np.zeros_like(grid)
    slope: NDArray[np.float32] = np.gradient(grid, axis=axis)
    return slope


def _pooled(grid: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    pooled: NDArray[np.float32] = adaptive_avg_pool2d(
        torch.from_numpy(np.ascontiguousarray(grid)).float(), side
    ).numpy()
    return pooled
