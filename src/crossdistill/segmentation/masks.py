"""Masks: pictures of class numbers in the geometry of the target items, read and brought to the targets' size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as Pillow
from torch import Tensor

from crossdistill.console import track
from crossdistill.errors import CrossDistillError, PairsError
from crossdistill.item import Item
from crossdistill.modalities import Modality
from crossdistill.modalities.raster_file import MOST_PIXELS, read_raster
from crossdistill.modalities.square import Fit, square
from crossdistill.pairs import Pairs
from crossdistill.pairs.patience import time_limit
from crossdistill.pairs.reading import decoded
from crossdistill.segmentation.classes import Classes

IGNORED = 255  # in masks as they are kept here: a place without a class
_ARRAYS = (".npy", ".npz", ".exr", ".tif", ".tiff")
_EXPECTED = "one whole number a pixel: a PNG (grey of 8 or 16 bits, or a palette), TIFF, NPY or NPZ file"
_LARGEST = 65_535


def read_mask(item: Item) -> NDArray[np.int64]:
    """The numbers of a mask as they are stored, ``(H, W)``; of a palette the indices.

    Raises:
        PairsError: it is missing or unreadable, or holds something else than whole numbers, one a pixel.
    """
    if item.suffix.lower() in _ARRAYS:
        stored = read_raster(item)
    else:
        try:
            with item.open("rb") as stream, Pillow.open(stream) as opened:
                if opened.size[0] * opened.size[1] > MOST_PIXELS:
                    raise ValueError(f"{opened.size[0] * opened.size[1]:,} pixels")
                stored = np.asarray(opened)
                if opened.mode == "1":
                    stored = stored.astype(np.uint8)
        except FileNotFoundError as error:
            raise PairsError("A file is missing.", where=item, expected=_EXPECTED) from error
        except (OSError, SyntaxError, ValueError, EOFError, Pillow.DecompressionBombError) as error:
            raise PairsError(
                "A mask cannot be read.", where=item, expected=_EXPECTED, received=str(error) or type(error).__name__,
                fix="replace the file, or leave its row's mask out",
            ) from error  # fmt: skip
    if stored.ndim != 2 or not stored.size or stored.dtype.kind not in "uif":
        what = "colours" if stored.ndim == 3 else "no pixel"
        raise PairsError("A mask holds no class numbers.", where=item, expected=_EXPECTED,
                         received=f"{what}: {stored.dtype}, shape {stored.shape}",
                         fix="write the number of each pixel's class instead of its colour")  # fmt: skip
    if stored.dtype.kind == "f" and not (np.isfinite(stored).all() and (stored == np.round(stored)).all()):
        raise PairsError("A mask holds numbers that are not whole.", where=item, expected=_EXPECTED,
                         received=stored.dtype)  # fmt: skip
    if stored.min() < 0 or stored.max() > _LARGEST:
        raise PairsError("A mask holds numbers of no class.", where=item, expected=f"0 to {_LARGEST}",
                         received=f"{stored.min():g} to {stored.max():g}")  # fmt: skip
    return stored.astype(np.int64)


@dataclass(frozen=True)
class MaskReader:
    """Reads the masks of some rows and brings them to the size of the targets, as their modality does to these.

    Attributes:
        pairs: whose masks.
        rows: which of them have one and a target.
        modality: of the targets, resolved.
        classes: what the numbers mean; None leaves them and gives the numbers that occur instead of a mask.
        patience: seconds after which reading one item is given up.
    """

    pairs: Pairs
    rows: Sequence[int]
    modality: Modality
    classes: Classes | None
    patience: float = 300.0

    def __call__(self, position: int) -> Tensor:
        """The mask of one row: indices of classes ``(size, size)`` in uint8, :data:`IGNORED` where there is none.

        Without classes the numbers that occur in it, ``(n,)``, after its size was compared with the target's.

        Raises:
            PairsError: it cannot be read, has other proportions than its target, or a number that is no class.
        """
        pair = self.pairs[self.rows[position]]
        assert pair.mask is not None
        assert pair.target is not None
        where = f"{pair.where}, column mask: {pair.mask}"
        try:
            with time_limit(self.patience):
                numbers = read_mask(pair.mask)
        except PairsError as error:
            raise error.at(where) from error
        if self.classes is None:
            self._check_size(numbers.shape, pair.target, pair.where, where)
            return torch.from_numpy(np.unique(numbers))
        return square(torch.from_numpy(self.classes.indices(numbers, where))[None], self.modality.shape[-1],
                      self._fit(), "nearest-exact", float(IGNORED))[0]  # fmt: skip

    def _fit(self) -> Fit:
        fit: Fit = getattr(self.modality, "fit", "squash")
        return fit

    def _check_size(self, mask: tuple[int, ...], target: Item, row: str, where: str) -> None:
        """Masks may be coarser or finer than their targets, but have to show the same part of the scene."""
        try:
            with time_limit(self.patience):
                shape = self.modality.read(target).shape
        except PairsError as error:
            raise error.at(f"{row}, column target: {target}") from error
        # What a modality of one's own reads is a decoded item, whose channels come first.
        height, width = shape[:2] if hasattr(self.modality, "fit") else shape[-2:]
        scale = mask[0] / height
        if abs(mask[1] - width * scale) > max(1.0, scale):
            raise PairsError(
                "A mask has other proportions than its target.", where=where,
                expected=f"{width} x {height} pixels as the target, or a multiple or fraction of both",
                received=f"{mask[1]} x {mask[0]} pixels", fix="export masks in the geometry of the targets",
            )  # fmt: skip


def masked_rows(pairs: Pairs, split: Any = None) -> list[int]:
    """Rows of a split, or of all, that have a target and a mask."""
    return [row for row in pairs.where(split, has=("target",)) if pairs[row].mask is not None]


def read_masks(reader: MaskReader, workers: int = 0) -> Tensor:
    """All masks of a reader with classes, ``(N, size, size)`` in uint8.

    Raises:
        PairsError: see :class:`MaskReader`.
    """
    side = reader.modality.shape[-1]
    found = torch.empty(len(reader.rows), side, side, dtype=torch.uint8)
    with track("reading masks", len(reader.rows)) as task:
        for position, mask in decoded(reader, len(reader.rows), workers):
            if isinstance(mask, CrossDistillError):
                raise mask
            found[position] = mask
            task.advance()
    return found


def numbers_in_masks(reader: MaskReader, workers: int = 0) -> dict[int, int]:
    """Each number that occurs in masks, with the first row where it does; sizes are compared on the way.

    Args:
        reader: without classes.
        workers: processes that read.
    """
    first: dict[int, int] = {}
    with track("checking masks", len(reader.rows)) as task:
        for position, numbers in decoded(reader, len(reader.rows), workers):
            if isinstance(numbers, CrossDistillError):
                raise numbers
            for number in numbers.tolist():
                first.setdefault(number, reader.rows[position])
            task.advance()
    return first


def names_beside(pairs: Pairs, rows: Sequence[int]) -> Path | None:
    """``mask_classes.json`` in a folder of masks, or in the one above; None where there is none."""
    folders: dict[Path, None] = {}
    for row in rows:
        mask = pairs[row].mask
        if isinstance(mask, Path):
            folders |= dict.fromkeys(mask.parents[:2])
    return next((path for folder in folders if (path := folder / "mask_classes.json").is_file()), None)
