"""How an item that is not square becomes one."""

from __future__ import annotations

from typing import Literal

from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

Fit = Literal["crop", "pad", "squash"]
"""``crop`` keeps the middle, ``pad`` keeps everything and fills the rest, ``squash`` changes the proportions."""


def square(items: Tensor, side: int, fit: Fit, interpolation: str, fill: list[float] | float = 0.0) -> Tensor:
    """``(C, H, W)`` to ``(C, side, side)``.

    Args:
        items: any type that torchvision resizes.
        side: in pixels.
        fit: see above.
        interpolation: nearest, bilinear, bicubic or lanczos.
        fill: what ``pad`` fills with, for each channel or for all.
    """
    height, width = items.shape[-2:]
    if (height, width) == (side, side):
        return items
    if fit == "squash":
        target = [side, side]
    else:
        edge = min(height, width) if fit == "crop" else max(height, width)
        target = [max(1, round(height * side / edge)), max(1, round(width * side / edge))]
    items = F.resize(items, target, InterpolationMode(interpolation), antialias=True)
    if fit == "pad":
        spare_y, spare_x = side - items.shape[-2], side - items.shape[-1]
        edges = [spare_x // 2, spare_y // 2, spare_x - spare_x // 2, spare_y - spare_y // 2]
        padded: Tensor = F.pad(items, edges, fill=fill)
        return padded
    cropped: Tensor = F.center_crop(items, [side, side])
    return cropped
