"""What depth maps, thermal pictures and multispectral rasters share: measured values, some of them missing."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageDraw, ImageOps
from pydantic import ConfigDict, Field
from scipy import ndimage
from torch import Tensor

from crossdistill import draws
from crossdistill.errors import PairsError
from crossdistill.item import Item
from crossdistill.modalities.base import InputDefaults, Modality, channel_statistics, standardised
from crossdistill.modalities.geometry import Geometry, draw_placements, place
from crossdistill.modalities.raster_file import read_raster
from crossdistill.modalities.square import Fit, square

# Viridis at nine places (Smith and van der Walt, CC0), interpolated in between: even in lightness.
_COLOURS = np.array(
    [[68, 1, 84], [71, 44, 122], [59, 81, 139], [44, 113, 142], [33, 144, 141], [39, 173, 129], [92, 200, 99],
     [170, 220, 50], [253, 231, 37]], dtype=np.float64,
)  # fmt: skip
_MISSING_COLOUR = (150, 150, 150)
_BAR = 0.16  # of the side


class RasterAugment(Geometry):
    """Random changes of one raster. Geometry first, values after; 0 or null turns one off."""

    rotate: float = Field(10.0, ge=0, le=180, description="largest rotation, in degrees")
    gain: float = Field(0.1, ge=0, lt=1, description="values are multiplied by 1 - gain to 1 + gain")
    offset: float = Field(0.05, ge=0, le=1, description="and shifted by up to this share of the range")
    noise: float = Field(0.01, ge=0, le=1, description="standard deviation of pixel noise, as a share of the range")


class Raster(Modality):
    """Measured values on a grid, encoded to 0..1 and kept in float16 ``(channels, size, size)``.

    Missing values do not take part in resizing, and are filled from the nearest valid pixel afterwards.
    """

    size: int | None = Field(None, ge=8, le=4096, description="side in pixels; default: the encoder's own")
    fit: Fit = Field("crop", description="how a raster that is not square becomes one")
    mean: tuple[float, ...] | None = Field(None, description="of the encoded values; default: the encoder's own")
    std: tuple[float, ...] | None = Field(None, description="likewise")
    augment_with: RasterAugment = Field(default_factory=RasterAugment, alias="augment")

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    @property
    @abstractmethod
    def channels(self) -> int:
        """Number of channels of the encoded raster."""

    @property
    @abstractmethod
    def unit(self) -> str:
        """Of the values that a report shows, such as ``m``."""

    @abstractmethod
    def measured(self, stored: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Stored values to values in the modality's unit ``(H, W, C)``, and where they are valid ``(H, W)``.

        Raises:
            PairsError: the values cannot be what the settings say that they are.
        """

    def converted(self, stored: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Like :meth:`measured`, but of values that cannot be what the settings say as well."""
        return self.measured(stored)

    @abstractmethod
    def encode(self, values: NDArray[np.float32], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Values ``(H, W, C)`` to 0..1, ``(H, W, channels)``."""

    @property
    def shape(self) -> tuple[int, ...]:
        if self.size is None:
            raise ValueError("the size is still open: resolve the modality with an encoder first")
        return (self.channels, self.size, self.size)

    def resolve(self, defaults: InputDefaults) -> Self:
        mean, std = defaults.statistics(self.channels)
        update = {"size": self.size or defaults.size, "mean": self.mean or mean, "std": self.std or std}
        return self.model_copy(update=update)

    def as_defaults(self) -> InputDefaults:
        if self.mean is None or self.std is None:
            raise ValueError("mean or std is still open: resolve the modality with an encoder first")
        return InputDefaults(size=self.shape[-1], mean=self.mean, std=self.std, interpolation="bilinear")

    @property
    def decoding(self) -> str:
        return self.model_dump_json(exclude={"mean", "std", "augment_with"})

    def decode(self, item: Item) -> Tensor:
        try:
            return self._prepare(read_raster(item))
        except PairsError as error:
            raise error.at(item) from error

    def read(self, item: Item) -> NDArray[np.float32]:
        """The values in the modality's unit, ``(H, W, C)``; NaN where nothing was measured."""
        try:
            values, valid = self.measured(read_raster(item))
        except PairsError as error:
            raise error.at(item) from error
        return np.where(valid[:, :, None], values, np.float32(np.nan))

    def from_array(self, array: Any) -> Tensor:
        values = np.asarray(array)
        if values.ndim not in (2, 3) or 0 in values.shape or values.dtype.kind not in "uif":
            raise PairsError(
                "An array holds no raster.", expected="real numbers of shape (H, W) or (H, W, C)",
                received=f"{values.dtype}, shape {values.shape}",
            )  # fmt: skip
        return self._prepare(values)

    @property
    def geometry(self) -> Geometry | None:
        return self.augment_with.geometry_alone()

    def augment(self, batch: Tensor, placement: Tensor | None = None) -> Tensor:
        change, values = self.augment_with, batch.float()
        if placement is None and change.changes:
            placement = draw_placements(change, len(batch))
        if placement is not None:
            values = place(values, placement)
        shape = len(values), 1, 1, 1
        if change.gain:
            values = values * (1 + change.gain * (2 * draws.rand(*shape, device=values.device) - 1))
        if change.offset:
            values = values + change.offset * (2 * draws.rand(*shape, device=values.device) - 1)
        if change.noise:
            values = values + change.noise * draws.randn_like(values)
        return values.clamp(0, 1)

    def contrastive(self) -> Self:
        strong = RasterAugment(crop=(0.3, 1.0), rotate=0, translate=0, scale=(1, 1), gain=0.3, offset=0.15, noise=0.03)
        chosen = self.augment_with if "augment_with" in self.model_fields_set else strong
        return self.model_copy(update={"augment_with": chosen})

    def normalise(self, batch: Tensor) -> Tensor:
        return standardised(batch.float(), self.mean, self.std)

    def with_statistics(self, items: Tensor) -> Self:
        mean, std = channel_statistics(items)
        return self.model_copy(update={"mean": self.mean or mean, "std": self.std or std})

    def facts(self, item: Item) -> dict[str, str | float]:
        stored = read_raster(item)
        planes = stored[:, :, None] if stored.ndim == 2 else stored
        found: dict[str, str | float] = {
            "width": planes.shape[1], "height": planes.shape[0], "channels": planes.shape[2],
            "dtype": str(stored.dtype),
        }  # fmt: skip
        values, valid = self.converted(stored)
        found["missing"] = float(1 - valid.mean())
        if valid.any():
            found["median"] = float(np.median(values[valid]))
            if stored.dtype.kind in "ui":
                # Pillow gives 16 bits as 32 where a file says nothing about the sign.
                ceiling = np.iinfo(stored.dtype).max if stored.dtype.itemsize < 4 else 65_535
                found["saturated"] = float((planes[valid] == ceiling).mean())
        return found

    def picture(self, item: Item, side: int) -> Pillow.Image:
        """The first measured channel in colours, with a bar that says which value is which."""
        values, valid = self.measured(read_raster(item))
        shown = values[:, :, 0]
        low, high = (float(each) for each in np.percentile(shown[valid], (2, 98))) if valid.any() else (0.0, 1.0)
        level = np.clip((shown - low) / max(high - low, 1e-12), 0, 1)
        coloured = colours(level)
        coloured[~valid] = _MISSING_COLOUR
        bar = max(8, round(_BAR * side))
        main = ImageOps.contain(Pillow.fromarray(coloured), (side, side - bar), Pillow.Resampling.NEAREST)
        drawn = Pillow.new("RGB", (side, side), "white")
        drawn.paste(main, ((side - main.width) // 2, (side - bar - main.height) // 2))
        ramp = colours(np.linspace(0, 1, side)[None].repeat(max(2, bar // 4), axis=0))
        drawn.paste(Pillow.fromarray(ramp), (0, side - bar))
        pen = ImageDraw.Draw(drawn)
        size, top = max(6, round(bar * 0.6)), side - bar + ramp.shape[0]
        pen.text((1, top), f"{low:.4g}", fill="black", font_size=size)
        pen.text((side - 1, top), f"{high:.4g} {self.unit}".strip(), fill="black", font_size=size, anchor="ra")
        return drawn

    def draw(self, values: Tensor, side: int) -> Pillow.Image:
        drawn = Pillow.fromarray(colours(values[0].float().clamp(0, 1).cpu().numpy()))
        return drawn.resize((side, side), Pillow.Resampling.BILINEAR)

    def _prepare(self, stored: NDArray[Any]) -> Tensor:
        if self.size is None:
            raise ValueError("the size is still open: resolve the modality with an encoder first")
        values, valid = self.measured(stored)
        if not valid.any():
            raise PairsError("A raster has no valid value.", expected="at least one measured pixel", received="none")
        encoded = self.encode(np.where(valid[:, :, None], values, np.float32(0)), valid)
        known = torch.from_numpy(valid.astype(np.float32))[None]
        planes = torch.cat([torch.from_numpy(np.ascontiguousarray(encoded.transpose(2, 0, 1))).float() * known, known])
        resized = square(planes, self.size, self.fit, "bilinear")
        weight = resized[-1].clamp(0, 1)
        filled = (resized[:-1] / weight.clamp(min=1e-3)).clamp(0, 1)
        missing = (weight < 0.5).numpy()
        if missing.all():
            raise PairsError("A raster has no valid value in the part that is used.", expected="measured pixels")
        if missing.any():
            nearest = ndimage.distance_transform_edt(missing, return_distances=False, return_indices=True)
            filled = filled[:, torch.from_numpy(nearest[0]), torch.from_numpy(nearest[1])]
        return filled.half()


def colours(level: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Levels 0..1 ``(...)`` as colours of the viridis map ``(..., 3)``."""
    place = level * (len(_COLOURS) - 1)
    channels = [np.interp(place, np.arange(len(_COLOURS)), _COLOURS[:, channel]) for channel in range(3)]
    return np.stack(channels, axis=-1).round().astype(np.uint8)
