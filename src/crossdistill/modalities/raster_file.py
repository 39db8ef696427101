"""Measured rasters from files: PNG and TIFF in 8, 16 or 32 bits, NPY, NPZ, EXR. Values stay as they are stored."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import UnidentifiedImageError

from crossdistill.errors import MissingDependencyError, PairsError
from crossdistill.item import Item, local_file
from crossdistill.npy import npy_values, read_npy

MOST_PIXELS = 100_000_000  # of one file; beyond it a file is broken or hostile
_EXPECTED = "a PNG, TIFF, NPY, NPZ or EXR file with a height and a width, and channels where there are several"

# What the readers raise on damaged files. tifffile's own errors are ValueErrors.
_UNREADABLE = (
    OSError, SyntaxError, ValueError, EOFError, KeyError, IndexError, RuntimeError, NotImplementedError, zlib.error,
    zipfile.BadZipFile, Pillow.DecompressionBombError,
)  # fmt: skip


def read_raster(item: Item) -> NDArray[Any]:
    """The stored values, ``(H, W)`` or ``(H, W, C)``, integer or floating.

    Raises:
        PairsError: the file is missing, unreadable, truncated, too large or no raster; the message names it.
        MissingDependencyError: its format needs a package that is not installed.
    """
    readers: dict[str, Callable[[Item], NDArray[Any]]] = {
        ".npy": _numpy, ".npz": _numpy, ".exr": _exr, ".tif": _tiff, ".tiff": _tiff,
    }  # fmt: skip
    try:
        values = readers.get(item.suffix.lower(), _pillow)(item)
    except FileNotFoundError as error:
        raise PairsError("A file is missing.", where=item, expected=_EXPECTED) from error
    except _UNREADABLE as error:
        raise PairsError(
            "A raster cannot be read.", where=item, expected=_EXPECTED, received=str(error) or type(error).__name__,
            fix="replace the file, or remove its row from the pairs",
        ) from error  # fmt: skip
    if values.ndim not in (2, 3) or 0 in values.shape or values.dtype.kind not in "uif":
        raise PairsError(
            "A file holds no raster.", where=item, expected="real numbers of shape (H, W) or (H, W, C)",
            received=f"{values.dtype}, shape {values.shape}",
        )  # fmt: skip
    return values[:, :, 0] if values.ndim == 3 and values.shape[2] == 1 else values


def _pillow(item: Item) -> NDArray[Any]:
    with item.open("rb") as stream, Pillow.open(stream) as opened:
        _check_size(opened.size[0] * opened.size[1])
        if opened.mode in ("P", "1"):
            raise ValueError(f"a palette or black-and-white picture (mode {opened.mode}) holds no measurements")
        return np.asarray(opened)


def _tiff(item: Item) -> NDArray[Any]:
    try:
        with item.open("rb") as stream, Pillow.open(stream) as opened:
            single = getattr(opened, "n_frames", 1) == 1 and opened.mode in ("L", "RGB", "I;16", "I;16B", "I", "F")
    except UnidentifiedImageError:  # several channels of 16 bits or more are nothing that Pillow knows
        single = False
    if single:
        return _pillow(item)
    try:
        import tifffile
    except ImportError as error:
        raise MissingDependencyError(
            "TIFF files of several channels need the package tifffile.",
            where=item,
            fix="pip install 'crossdistill[raster]'",
        ) from error
    with item.open("rb") as stream, tifffile.TiffFile(stream) as file:
        page = file.series[0]
        _check_size(int(np.prod(page.shape)))
        values: NDArray[Any] = page.asarray()
        # Bands first or last: the smaller end is the number of bands.
        return np.moveaxis(values, 0, -1) if values.ndim == 3 and values.shape[0] < values.shape[2] else values


def _numpy(item: Item) -> NDArray[Any]:
    if item.suffix.lower() == ".npy":
        return read_npy(item, MOST_PIXELS)
    with item.open("rb") as stream, zipfile.ZipFile(stream) as archive:
        if len(archive.namelist()) != 1:
            raise ValueError(f"an NPZ file of a raster holds one array; this one has {len(archive.namelist())}")
        with archive.open(archive.namelist()[0]) as member:
            return npy_values(cast(BinaryIO, member), MOST_PIXELS)


def _exr(item: Item) -> NDArray[Any]:
    try:
        import OpenEXR
    except ImportError as error:
        raise MissingDependencyError(
            "EXR files need the package OpenEXR.", where=item, fix="pip install 'crossdistill[raster]'"
        ) from error
    if isinstance(item, Path) and not item.is_file():
        raise FileNotFoundError(item)
    try:
        with local_file(item) as file, OpenEXR.File(str(file)) as opened:
            channels = [channel.pixels for channel in opened.channels().values()]
    except RuntimeError as error:
        raise ValueError(str(error)) from error
    values: NDArray[Any] = channels[0] if len(channels) == 1 else np.stack(channels, axis=-1)
    _check_size(values.size)
    return values


def _check_size(count: int) -> None:
    if count > MOST_PIXELS:
        raise ValueError(f"{count:,} values, where {MOST_PIXELS:,} are the most that are read")
