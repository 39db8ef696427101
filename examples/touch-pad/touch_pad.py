"""The modality touch_pad: presses on a square of pressure sensors, 16 x 16 counts of 10 bits in an NPY file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from crossdistill.errors import PairsError
from crossdistill.modalities.raster import Raster


class TouchPad(Raster):
    """Counts of a pressure sensor array, as a share of its full scale; a dead cell reports -1."""

    modality: Literal["touch_pad"] = "touch_pad"
    full_scale: int = Field(1023, gt=0, description="the count of the hardest press")

    @property
    def channels(self) -> int:
        """One: the pressure."""
        return 1

    @property
    def unit(self) -> str:
        """What a report writes beside its colours."""
        return "% of full scale"

    def measured(self, stored: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Counts as percent ``(H, W, 1)``, and which cells are alive ``(H, W)``."""
        if stored.ndim != 2 or stored.dtype.kind not in "iu" or stored.max() > self.full_scale:
            raise PairsError(
                "That is no reading of the pad.",
                expected=f"whole numbers up to {self.full_scale}, shape (rows, columns)",
                received=f"{stored.dtype} up to {stored.max():g}, shape {stored.shape}",
                fix="set full_scale to that of your pad",
            )
        return (stored * (100 / self.full_scale)).astype(np.float32)[:, :, None], stored >= 0

    def encode(self, values: NDArray[np.float32], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Percent to 0..1; the root makes light touches visible beside hard ones."""
        return np.sqrt(np.clip(values / 100, 0, 1))

    @classmethod
    def write_fake(cls, path: Path, label: int, variant: int, rich: bool) -> None:
        """``label + 1`` finger tips, and a dead cell."""
        rng = np.random.default_rng(1000 * label + variant)
        down, right = np.mgrid[0:16, 0:16]
        pressure = np.zeros((16, 16))
        for _ in range(label + 1):
            y, x = rng.uniform(2, 14, 2)
            pressure += 600 * np.exp(-((down - y) ** 2 + (right - x) ** 2) / (3 if rich else 6))
        counts = np.clip(pressure + rng.normal(0, 8, pressure.shape), 0, 1023).astype(np.int16)
        counts[tuple(rng.integers(0, 16, 2))] = -1
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, counts)
