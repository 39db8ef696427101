"""Where a picture is taken from, and what is around the things in it: plane surfaces and light."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Camera:
    """A pinhole camera whose focal length is the picture's width: a field of view of 53 degrees.

    Attributes:
        position: ``(3,)`` metres.
        axes: ``(3, 3)`` rows right, up and back (against the line of sight).
        side: of the picture, in pixels.
    """

    position: Floats
    axes: Floats
    side: int

    @classmethod
    def looking(cls, position: ArrayLike, target: ArrayLike, side: int) -> Self:
        """A camera at ``position`` that has ``target`` in the middle and the vertical upright."""
        place = np.asarray(position, dtype=np.float64)
        back = place - np.asarray(target, dtype=np.float64)
        back /= np.linalg.norm(back)
        right = np.array([back[2], 0.0, -back[0]]) / np.hypot(back[0], back[2])
        axes = np.stack([right, np.cross(back, right), back])
        return cls(place.astype(np.float32), axes.astype(np.float32), side)

    def rays(self) -> Floats:
        """Directions ``(side * side, 3)`` through the pixels' middles, row by row from the top.

        They reach one metre along the line of sight, so a distance along one of them is a depth.
        """
        place = (np.arange(self.side, dtype=np.float32) - (self.side - 1) / 2) / self.side
        right, up, back = self.axes
        return np.asarray((place[:, None] * right - place[:, None, None] * up - back).reshape(-1, 3), dtype=np.float32)


@dataclass(frozen=True)
class Surface:
    """An endless plane with a repeated texture.

    Attributes:
        point: ``(3,)`` on it.
        normal: ``(3,)`` to the side that is seen.
        axes: ``(2, 3)`` unit vectors in the plane, along which the texture runs.
        texture: ``(H, W, 3)`` in 0..1.
        tile: side of one repetition in metres.
    """

    point: Floats
    normal: Floats
    axes: Floats
    texture: Floats
    tile: float

    def distances(self, origin: Floats, rays: Floats) -> Floats:
        """Along each ray, infinite where it does not meet the plane."""
        along = rays @ self.normal
        with np.errstate(divide="ignore", invalid="ignore"):
            distance = float((self.point - origin) @ self.normal) / along
        return np.where((along < 0) & (distance > 0), distance, np.inf).astype(np.float32)

    def colours(self, points: Floats) -> Floats:
        """Of points on the plane, ``(N, 3)``."""
        height, width = self.texture.shape[:2]
        counts = np.array([width, height], np.float32)
        place = (points - self.point) @ (self.axes.T * counts / np.float32(self.tile))
        cells = np.floor(place).astype(np.int32) % counts.astype(np.int32)
        return np.asarray(self.texture.reshape(-1, 3).take(cells[:, 1] * width + cells[:, 0], axis=0))


@dataclass(frozen=True)
class Light:
    """Parallel light with soft shadows before an even sky.

    Attributes:
        directions: ``(4, 3)`` unit vectors towards the light, one for each sample of a pixel.
        strength: of the light and of the sky, as shares of full brightness.
        tint: ``(3,)`` colour of the light.
    """

    directions: Floats
    strength: tuple[float, float]
    tint: Floats
