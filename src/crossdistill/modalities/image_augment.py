"""Random changes of images, a whole batch at a time and each image in its own way, on the device they are on."""

from __future__ import annotations

from functools import cache
from typing import Any

import kornia.augmentation as K
import torch
from pydantic import Field
from torch import Tensor, nn

from crossdistill import draws
from crossdistill.modalities.geometry import Geometry, draw_placements, place


class ImageAugment(Geometry):
    """Random changes of one image. Geometry first, photometry after; 0 or null turns one off."""

    brightness: float = Field(0.2, ge=0, description="factor from 1 - this to 1 + this")
    contrast: float = Field(0.2, ge=0, description="likewise")
    saturation: float = Field(0.0, ge=0, description="three channels only")
    hue: float = Field(0.0, ge=0, le=0.5, description="three channels only")
    grayscale: float = Field(0.0, ge=0, le=1, description="probability; three channels only")
    blur: float = Field(0.0, ge=0, le=1, description="probability of a Gaussian blur")


def augment_images(batch: Tensor, config: ImageAugment, placement: Tensor | None = None) -> Tensor:
    """Changes images ``(B, C, H, W)`` with values 0..255; the answer is float32 on the same scale.

    Args:
        batch: uint8 or floating point.
        config: what may be changed, and how much.
        placement: where things go, ``(B, 2, 3)``, instead of a random draw.
    """
    # In place wherever the tensor is one of ours: on a CPU most of the time goes into moving memory.
    images = (batch.float() if batch.is_floating_point() else batch) / 255
    with torch.no_grad():
        if placement is None and config.changes:
            placement = draw_placements(config, len(batch))
        if placement is not None:
            images = place(images, placement)
        images = images.clamp_(0, 1)
        for change in _photometry(config, batch.shape[1], batch.shape[2]):
            drawn = change.forward_parameters(draws.shape_of_whole(images.shape))
            shape = drawn.pop("forward_input_shape")
            drawn = draws.own_rows(drawn, len(images))
            # What kornia does for these two, with the numbers that it draws, but in place.
            if isinstance(change, K.RandomBrightness):
                images.add_(_per_image(drawn["brightness_factor"], images) - 1).clamp_(0, 1)
            elif isinstance(change, K.RandomContrast):
                images.mul_(_per_image(drawn["contrast_factor"], images)).clamp_(0, 1)
            else:
                images = change(images, params={**drawn, "forward_input_shape": shape})
        return images.clamp_(0, 1).mul_(255)


def _per_image(factors: Tensor, images: Tensor) -> Tensor:
    return factors.to(images).view(-1, 1, 1, 1)


@cache
def _photometry(config: ImageAugment, channels: int, height: int) -> tuple[Any, ...]:
    colour: list[nn.Module] = []
    if config.brightness:
        colour.append(K.RandomBrightness((max(0.0, 1 - config.brightness), 1 + config.brightness), p=1.0))
    if config.contrast:
        colour.append(K.RandomContrast((max(0.0, 1 - config.contrast), 1 + config.contrast), p=1.0))
    if channels == 3:
        if config.saturation:
            colour.append(K.RandomSaturation((max(0.0, 1 - config.saturation), 1 + config.saturation), p=1.0))
        if config.hue:
            colour.append(K.RandomHue((-config.hue, config.hue), p=1.0))
        if config.grayscale:
            colour.append(K.RandomGrayscale(p=config.grayscale))
    if config.blur:
        side = max(3, height // 20 * 2 + 1)
        colour.append(K.RandomGaussianBlur((side, side), (0.1, 2.0), p=config.blur))
    return tuple(colour)
