"""The depth modality: distances from a camera, in any of the files that sensors and data sets write."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from pydantic import Field, model_validator

from crossdistill.errors import PairsError
from crossdistill.modalities.raster import Raster

_MILLIMETRE = 1e-3
_HEIGHT = 3.0  # metres that the height channel spans
_OUTSIDE = 0.9  # share of valid pixels out of range, from which on the unit must be wrong


class Depth(Raster):
    """Depth maps: 16-bit PNG or TIFF with a scale, 32-bit TIFF, EXR, NPY.

    ``representation``: ``depth`` is one channel; ``normals`` the components of the surface normal; ``hha`` inverse
    depth, height above the lowest point and angle to the vertical, in the manner of HHA (arXiv 1407.5736) with the
    picture's vertical taken for that of the world.
    """

    modality: Literal["depth"] = "depth"
    metres_per_unit: float | None = Field(
        None, gt=0, description="default: 0.001 for whole numbers (millimetres), 1 for floating ones"
    )
    inverse_stored: bool = Field(False, description="whether files hold 1/distance (disparity) instead of distance")
    invalid: tuple[float, ...] = Field((0.0,), description="stored values that mean no measurement, beside NaN")
    near: float = Field(0.1, gt=0, description="metres")
    far: float = Field(10.0, gt=0, description="metres; what is beyond counts as at this distance")
    encoding: Literal["linear", "inverse", "log"] = Field("inverse", description="how near to far becomes 0..1")
    per_image: bool = Field(False, description="near and far from each picture's own 2nd and 98th percentile")
    representation: Literal["depth", "normals", "hha"] = Field(
        "depth", description="distances; surface normals; or inverse depth, height and angle to the vertical"
    )
    focal: float | None = Field(
        None, gt=0, description="focal length in pixels of the stored picture; default: its width"
    )

    @model_validator(mode="after")
    def _range(self) -> Self:
        if self.far <= self.near:
            raise ValueError(f"far ({self.far} m) must be beyond near ({self.near} m)")
        return self

    @property
    def channels(self) -> int:
        return 1 if self.representation == "depth" else 3

    @property
    def unit(self) -> str:
        return "m"

    def converted(self, stored: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        if stored.ndim != 2:
            raise PairsError("A depth map has one channel.", expected="shape (H, W)", received=stored.shape)
        if stored.dtype == np.uint8:
            raise PairsError(
                "A depth map of 8 bits has too few steps for distances.", expected="16-bit or floating values",
                received="8-bit values", fix="export the depth itself, or use {modality: image} for a picture of it",
            )  # fmt: skip
        valid = np.isfinite(stored) & ~np.isin(stored, self.invalid) & (stored > 0)
        unit = self._unit(stored)
        values = np.where(valid, stored, 1).astype(np.float64)
        metres = (unit / values if self.inverse_stored else values * unit).astype(np.float32)
        return metres[:, :, None], valid

    def measured(self, stored: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        values, valid = self.converted(stored)
        metres = values[:, :, 0]
        if valid.any():
            inside = (metres[valid] >= self.near / 2) & (metres[valid] <= self.far * 2)
            if inside.mean() < 1 - _OUTSIDE:
                low, high = np.percentile(metres[valid], (5, 95))
                raise PairsError(
                    "The distances of a depth map are out of range: probably the unit is wrong.",
                    expected=f"distances from {self.near:g} to {self.far:g} m",
                    received=f"mostly {low:.4g} to {high:.4g} m at {self._unit(stored):g} m a unit",
                    fix="set metres_per_unit (0.001 for millimetres, 1 for metres), or near and far",
                )
        return values, valid

    def _unit(self, stored: NDArray[Any]) -> float:
        """Metres a stored unit."""
        return self.metres_per_unit or (1.0 if stored.dtype.kind == "f" else _MILLIMETRE)

    def encode(self, values: NDArray[np.float32], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
        metres = values[:, :, 0]
        near, far = self.near, self.far
        if self.per_image:
            near, far = (float(each) for each in np.percentile(metres[valid], (2, 98)))
            far = max(far, near * 1.001)
        clipped = np.clip(np.where(valid, metres, near), near, far)
        if self.representation == "depth":
            return _encode(clipped, near, far, self.encoding)[:, :, None]
        normals, points = _geometry(np.where(valid, metres, np.median(metres[valid])), self.focal or metres.shape[1])
        if self.representation == "normals":
            return ((normals + 1) / 2).astype(np.float32)
        up = -points[:, :, 1]
        height = np.clip((up - np.percentile(up[valid], 1)) / _HEIGHT, 0, 1)
        angle = np.arccos(np.clip(-normals[:, :, 1], -1, 1)) / np.pi
        return np.stack([_encode(clipped, near, far, "inverse"), height, angle], axis=-1).astype(np.float32)

    @classmethod
    def write_fake(cls, path: Path, label: int, variant: int, rich: bool) -> None:
        """``label + 3`` steps before a wall, in millimetres of 16 bits; smooth when ``rich``, with holes otherwise."""
        rng = np.random.default_rng(label * 1000 + variant)
        across = np.linspace(0, 1, 48)[None].repeat(48, axis=0)
        steps = np.floor(across * (label + 3)) / (label + 3)
        metres = 1.0 + 2.0 * (across if rich else steps) + 0.2 * rng.random()
        stored = (metres * 1000).astype(np.uint16)
        if not rich:
            stored[rng.random(stored.shape) < 0.05] = 0
        path.parent.mkdir(parents=True, exist_ok=True)
        Pillow.fromarray(stored).save(path)


def _encode(metres: NDArray[Any], near: float, far: float, encoding: str) -> NDArray[np.float32]:
    """Distances between near and far to 0..1; near is 1 in the inverse encoding and 0 in the others."""
    if encoding == "inverse":
        encoded = (1 / metres - 1 / far) / (1 / near - 1 / far)
    elif encoding == "log":
        encoded = np.log(metres / near) / np.log(far / near)
    else:
        encoded = (metres - near) / (far - near)
    return np.asarray(np.clip(encoded, 0, 1), dtype=np.float32)


def _geometry(metres: NDArray[np.float32], focal: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Unit normals towards the camera, and points in metres (x right, y down, z ahead), ``(H, W, 3)`` each."""
    height, width = metres.shape
    down, right = np.mgrid[0:height, 0:width].astype(np.float64)
    depth = metres.astype(np.float64)
    points = np.stack(
        [(right - (width - 1) / 2) * depth / focal, (down - (height - 1) / 2) * depth / focal, depth], axis=-1
    )
    if min(height, width) < 2:
        return np.broadcast_to(np.array([0.0, 0.0, -1.0]), points.shape).copy(), points
    normals = np.cross(np.gradient(points, axis=1), np.gradient(points, axis=0))
    normals /= np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-12)
    away = np.sum(normals * points, axis=-1, keepdims=True) > 0
    return np.where(away, -normals, normals), points


MODALITY = Depth
