"""The thermal modality: radiometric or plain pictures of infrared cameras, in 8 or 16 bits."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from pydantic import Field, model_validator

from crossdistill.errors import PairsError
from crossdistill.item import Item
from crossdistill.modalities.raster import Raster


class Thermal(Raster):
    """Thermal pictures: 8-bit ones whose scale nobody knows, or radiometric ones with a scale and an offset.

    A radiometric file has ``degrees_per_unit * stored + degrees_offset`` degrees, for instance 0.04 and -273.15 for
    cameras that store 25ths of a kelvin. Without them values are grey levels.
    """

    modality: Literal["thermal"] = "thermal"
    degrees_per_unit: float | None = Field(None, gt=0, description="degrees Celsius a stored unit")
    degrees_offset: float = Field(0.0, description="degrees Celsius at stored zero")
    low: float | None = Field(
        None, description="what is shown as 0, in degrees or grey levels; default: each picture's own"
    )
    high: float | None = Field(None, description="and 1")
    invalid: tuple[float, ...] = Field((), description="stored values that mean no measurement, beside NaN")

    @model_validator(mode="after")
    def _range(self) -> Self:
        if (self.low is None) != (self.high is None):
            raise ValueError("low and high go together: both, or neither for each picture's own range")
        if self.low is not None and self.high is not None and self.high <= self.low:
            raise ValueError(f"high ({self.high}) must be above low ({self.low})")
        return self

    @property
    def channels(self) -> int:
        return 1

    @property
    def unit(self) -> str:
        return "" if self.degrees_per_unit is None else "°C"

    def converted(self, stored: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        if stored.ndim == 3:  # grey pictures are often stored as three equal channels
            if stored.shape[2] not in (3, 4) or np.ptp(stored[:, :, :3], axis=2).max() > 2:
                raise PairsError(
                    "A thermal picture has one channel.", expected="shape (H, W), or three equal channels",
                    received=f"shape {stored.shape} with different channels",
                    fix="export without a colour palette, or use {modality: image} for the palette's colours",
                )  # fmt: skip
            stored = stored[:, :, 0]
        valid = np.isfinite(stored) & ~np.isin(stored, self.invalid)
        values = np.where(valid, stored, 0).astype(np.float32)
        if self.degrees_per_unit is not None:
            values = values * np.float32(self.degrees_per_unit) + np.float32(self.degrees_offset)
        return values[:, :, None], valid

    def measured(self, stored: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        values, valid = self.converted(stored)
        if self.degrees_per_unit is not None and valid.any():
            median = float(np.median(values[valid]))
            if not -100 < median < 2000:
                raise PairsError(
                    "The temperatures of a thermal picture cannot be: probably the scale is wrong.",
                    expected="a median between -100 and 2000 °C", received=f"{median:.4g} °C",
                    fix="set degrees_per_unit and degrees_offset as the camera's manual says",
                )  # fmt: skip
        return values, valid

    def facts(self, item: Item) -> dict[str, str | float]:
        found = super().facts(item)
        if self.degrees_per_unit is not None:  # ratios of degrees Celsius mean nothing
            found.pop("median", None)
        return found

    def encode(self, values: NDArray[np.float32], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
        if self.low is None or self.high is None:
            low, high = (float(each) for each in np.percentile(values[valid], (1, 99)))
        else:
            low, high = self.low, self.high
        return np.asarray(np.clip((values - low) / max(high - low, 1e-6), 0, 1), dtype=np.float32)

    @classmethod
    def write_fake(cls, path: Path, label: int, variant: int, rich: bool) -> None:
        """``label + 1`` warm spots on a cold ground, in 16 bits; blurred unless ``rich``."""
        rng = np.random.default_rng(label * 1000 + variant)
        down, right = np.mgrid[0:48, 0:48]
        picture = np.full((48, 48), 7300.0)
        for spot in range(label + 1):
            y, x = rng.uniform(8, 40, 2)
            picture += 700 / (spot + 1) * np.exp(-((down - y) ** 2 + (right - x) ** 2) / (12 if rich else 40))
        path.parent.mkdir(parents=True, exist_ok=True)
        Pillow.fromarray(picture.round().astype(np.uint16)).save(path)


MODALITY = Thermal
