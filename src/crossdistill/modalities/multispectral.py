"""The multispectral modality: rasters of any number of bands, from satellites or hyperspectral cameras."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from crossdistill.errors import PairsError
from crossdistill.modalities.raster import Raster


class Multispectral(Raster):
    """Rasters ``(H, W, bands)`` from TIFF or NPY; each band has a range of its own.

    The number of bands has to be said, as it is the number of channels of the encoder.
    """

    modality: Literal["multispectral"] = "multispectral"
    bands: tuple[int, ...] = Field(min_length=1, description="which stored bands to use, in order, from 0")
    stored_bands: int | None = Field(None, ge=1, description="how many a file has to hold; checked where given")
    low: tuple[float, ...] | float = Field(0.0, description="stored value that becomes 0, for all bands or for each")
    high: tuple[float, ...] | float | None = Field(None, description="and 1; default: each file's own 98th percentiles")
    no_data: tuple[float, ...] = Field((), description="stored values that mean no measurement, beside NaN")

    @model_validator(mode="after")
    def _ranges(self) -> Self:
        for name in ("low", "high"):
            value = getattr(self, name)
            if isinstance(value, tuple) and len(value) != len(self.bands):
                raise ValueError(f"{name} has {len(value)} values where bands has {len(self.bands)}")
        if self.high is not None and (np.asarray(self.high) <= np.asarray(self.low)).any():
            raise ValueError("high must be above low in every band")
        if min(self.bands) < 0:
            raise ValueError("bands are counted from 0")
        return self

    @property
    def channels(self) -> int:
        return len(self.bands)

    @property
    def unit(self) -> str:
        return ""

    def measured(self, stored: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        planes = stored[:, :, None] if stored.ndim == 2 else stored
        count = planes.shape[2]
        if (self.stored_bands is not None and count != self.stored_bands) or max(self.bands) >= count:
            wanted = self.stored_bands or f"at least {max(self.bands) + 1}"
            raise PairsError(
                "A raster has another number of bands.", expected=f"{wanted} bands", received=f"{count} bands",
                fix="set bands (and stored_bands) to what the files hold",
            )  # fmt: skip
        chosen = planes[:, :, list(self.bands)]
        valid = np.isfinite(chosen).all(axis=2) & ~np.isin(chosen, self.no_data).any(axis=2)
        return np.where(valid[:, :, None], chosen, 0).astype(np.float32), valid

    def encode(self, values: NDArray[np.float32], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
        low = np.asarray(self.low, dtype=np.float64)
        high = (
            np.percentile(values[valid], 98, axis=0) if self.high is None else np.asarray(self.high, dtype=np.float64)
        )
        return np.clip((values - low) / np.maximum(high - low, 1e-12), 0, 1).astype(np.float32)

    @classmethod
    def fake_settings(cls) -> dict[str, Any]:
        return {"bands": [0, 1, 2, 3]}

    @classmethod
    def write_fake(cls, path: Path, label: int, variant: int, rich: bool) -> None:
        """Four bands of stripes, ``label + 1`` across; the bands differ when ``rich``. Always an NPY file."""
        rng = np.random.default_rng(label * 1000 + variant)
        across = np.linspace(0, 2 * np.pi * (label + 1), 48)
        phases = np.arange(4) if rich else np.zeros(4)
        stripes = 1000 + 800 * np.sin(across[None, :, None] + phases + rng.uniform(0, 1))
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as stream:
            np.save(stream, stripes.repeat(48, axis=0).astype(np.uint16), allow_pickle=False)


MODALITY = Multispectral
