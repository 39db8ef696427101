"""Depth maps of SUN RGB-D, whose bits are rotated."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image as Pillow

from crossdistill.pairs.field.derived import DerivedItem, check_values
from crossdistill.pairs.readers.stores import npy_bytes


@dataclass(frozen=True)
class ShiftedDepth(DerivedItem):
    """A 16-bit PNG whose bits are rotated to the left by three, as an NPY file of millimetres ``(H, W)`` in uint16.

    That is ``(d >> 3) | (d << 13)``, as in ``read3dPoints.m`` of the official toolbox.

    Attributes:
        path: the PNG file.
        farthest: millimetres; what is beyond counts as at this distance. The toolbox has 8000. None leaves all.
    """

    path: Path
    farthest: int | None = None

    @property
    def name(self) -> str:
        """What it would be called as a file."""
        return f"{self.path.stem}.npy"

    def read_bytes(self) -> bytes:
        """Reads the file and turns the bits back."""
        try:
            with Pillow.open(self.path) as opened:
                check_values(opened.width * opened.height)
                stored = np.asarray(opened)
        except (SyntaxError, Pillow.DecompressionBombError) as error:
            raise ValueError(str(error)) from error
        if stored.ndim != 2 or not opened.mode.startswith("I"):
            raise ValueError(f"a depth map has one channel of 16 bits; this one has mode {opened.mode}")
        if stored.size and (stored.min() < 0 or stored.max() > 0xFFFF):
            raise ValueError("a depth map has values of 16 bits")
        bits = stored.astype(np.uint16)
        millimetres = (bits >> np.uint16(3)) | (bits << np.uint16(13))
        return npy_bytes(millimetres if self.farthest is None else np.minimum(millimetres, np.uint16(self.farthest)))

    def __str__(self) -> str:
        return f"{self.path}#millimetres"
