"""One look at an item: all that an audit keeps of it. What is kept does not grow with the item."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as Pillow
from torch import Tensor

from crossdistill.audit.appearance import edges, outline, pixels, planes
from crossdistill.errors import PairsError
from crossdistill.item import Item
from crossdistill.modalities import Modality
from crossdistill.modalities.raster_file import read_raster
from crossdistill.pairs.items import content_hash

_FAINT = 0.02  # of the range, within which a value counts as that of the background
_ARRAYS = (".npy", ".npz", ".tif", ".tiff")


@dataclass(frozen=True)
class Look:
    """What is known of one item.

    Attributes:
        digest: of its bytes.
        facts: see :meth:`crossdistill.modalities.Modality.facts`.
        constant: whether all values of the decoded item are the same.
        busy: share of the values that differ from the middle one by more than 2% of the range.
        outline: coarse shape, for finding copies ``(P, 32, 32)``, or the vector itself.
        blocks: features of what it looks like, by name.
        shown: as the teacher is shown it, in compact form; None where it cannot be.
    """

    digest: str
    facts: dict[str, str | float] = field(repr=False)
    constant: bool
    busy: float
    outline: NDArray[np.float16] = field(repr=False)
    blocks: dict[str, NDArray[np.float16]] = field(repr=False)
    shown: NDArray[Any] | None = field(repr=False)


@dataclass(frozen=True)
class Looker:
    """Looks at items by position; picklable, for worker processes.

    Attributes:
        items: what to look at.
        modality: resolved; it decodes.
        teacher: preprocessing of the teacher that is shown a picture of the items; None shows none.
        own: whether the teacher is shown the decoded items themselves, as ``modality`` is its own.
    """

    items: Sequence[Item]
    modality: Modality
    teacher: Modality | None = None
    own: bool = False

    def __call__(self, position: int) -> Look:
        """Raises PairsError where the item cannot be decoded."""
        item = self.items[position]
        try:
            values = self.modality.decode(item)
            digest = content_hash(item)
        except PairsError as error:
            raise error.at(item) from error
        except OSError as error:
            raise PairsError("An item cannot be read.", where=item, received=error) from error
        grid = planes(values)
        numbers = values.float()
        blocks = {"values": _half(values.flatten())} if grid is None else {"pixels": pixels(grid), "edges": edges(grid)}
        return Look(
            digest=digest,
            facts=self._facts(item),
            constant=bool(numbers.min() == numbers.max()),
            busy=_busy(values),
            outline=_half(values) if grid is None else outline(grid),
            blocks=blocks,
            shown=self._shown(values),
        )

    def facts(self, position: int) -> dict[str, str | float]:
        """The facts of an item that cannot be decoded: what is left of them may say why."""
        return self._facts(self.items[position])

    def _facts(self, item: Item) -> dict[str, str | float]:
        try:
            return self.modality.facts(item)
        except PairsError:
            return {}

    def _shown(self, values: Tensor) -> NDArray[Any] | None:
        if self.teacher is None:
            return None
        if self.own:
            return values.numpy()
        picture = self.modality.draw(values, self.teacher.shape[-1])
        return self.teacher.from_array(np.asarray(picture.convert("RGB"))).numpy()


@dataclass(frozen=True)
class MaskLooker:
    """Sizes of masks by position."""

    items: Sequence[Item]

    def __call__(self, position: int) -> tuple[int, int]:
        """Height and width. Raises PairsError where the mask cannot be read."""
        item = self.items[position]
        if item.suffix.lower() in _ARRAYS:
            height, width = read_raster(item).shape[:2]
            return height, width
        try:
            with item.open("rb") as stream, Pillow.open(stream) as opened:
                opened.load()
                return opened.height, opened.width
        except (OSError, SyntaxError, ValueError, EOFError, Pillow.DecompressionBombError) as error:
            raise PairsError("A mask cannot be read.", where=item, received=error) from error


def _busy(values: Tensor) -> float:
    numbers = values.float()
    if values.ndim == 1:
        return 1.0
    reach = 255.0 if values.dtype == torch.uint8 else max(1.0, float(numbers.max() - numbers.min()))
    return float(((numbers - numbers.median()).abs() > _FAINT * reach).float().mean())


def _half(values: Tensor) -> NDArray[np.float16]:
    """In 16 bits, scaled so that they fit."""
    numbers = values.float()
    return (numbers / numbers.abs().max().clamp(min=1e-12)).half().numpy()
