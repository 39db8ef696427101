"""What a depth sensor makes of exact distances: noise that grows with distance, ragged edges, holes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LIMIT = 12.0  # metres; nothing is measured beyond
_JITTER = 0.4  # pixels: where a reading comes from, about the pixel's middle
_STEEP = (5.0, 12.0)  # metres of depth for a metre across, where holes begin and where most readings fail
_FAIL = 0.4  # of the readings on what is too steep


def measured(depth: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """The readings of a sensor in metres ``(side, side)``, 0 where it has none.

    The standard deviation along the line of sight is that of Nguyen, Izadi and Lovell, "Modeling Kinect sensor noise
    for improved 3D reconstruction and tracking" (3DIMPVT 2012): 1.2 mm + 1.9 mm (z - 0.4)^2 for z in metres. Holes are
    where the surface is steep against the line of sight, which edges are too.

    Args:
        depth: exact, of a camera whose focal length is the picture's width; infinite where there is nothing.
        rng: decides everything random.
    """
    side = len(depth)
    shift = np.rint(rng.normal(0, _JITTER, (2, side, side))).astype(np.int64)
    down, across = np.clip(np.indices(depth.shape) + shift, 0, side - 1)
    metres = np.minimum(depth, 10 * LIMIT).astype(np.float64)
    slope = _slope(metres)
    low, high = _STEEP
    failed = rng.random(depth.shape) < _FAIL * np.clip((slope - low) / (high - low), 0, 1)
    read = metres[down, across]
    read = read + rng.standard_normal(depth.shape) * (0.0012 + 0.0019 * (read - 0.4) ** 2)
    return np.where(failed | (read > LIMIT) | (read <= 0), 0, read).astype(np.float32)


def _slope(metres: NDArray[np.float64]) -> NDArray[np.float64]:
    """Metres of depth for a metre across, between a pixel and that neighbour of it which differs most."""
    step = metres / len(metres)  # metres across a pixel
    found = np.zeros_like(metres)
    for axis in (0, 1):
        change = np.abs(np.diff(metres, axis=axis))
        before, after = [(0, 0), (0, 0)], [(0, 0), (0, 0)]
        before[axis], after[axis] = (1, 0), (0, 1)
        found = np.maximum(found, np.maximum(np.pad(change, before), np.pad(change, after)))
    return found / step
