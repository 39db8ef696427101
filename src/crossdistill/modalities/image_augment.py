"""Random changes of images, a whole batch at a time and each image in its own way, on the device they are on."""

from __future__ import annotations

from functools import cache

import kornia.augmentation as K
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn


class Geometry(BaseModel):
    """Random changes of where things are, for images and for everything else on a grid."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    crop: tuple[float, float] | None = Field(None, description="area range of a random resized crop")
    flip: float = Field(0.5, ge=0, le=1, description="probability of a horizontal flip")
    rotate: float = Field(15.0, ge=0, le=180, description="largest rotation, in degrees")
    translate: float = Field(0.1, ge=0, le=1, description="largest shift, as a fraction of the side")
    scale: tuple[float, float] = Field((0.85, 1.15), description="range of the zoom")


class ImageAugment(Geometry):
    """Random changes of one image. Geometry first, photometry after; 0 or null turns one off."""

    brightness: float = Field(0.2, ge=0)
    contrast: float = Field(0.2, ge=0)
    saturation: float = Field(0.0, ge=0, description="three channels only")
    hue: float = Field(0.0, ge=0, le=0.5, description="three channels only")
    grayscale: float = Field(0.0, ge=0, le=1, description="probability; three channels only")
    blur: float = Field(0.0, ge=0, le=1, description="probability of a Gaussian blur")


def augment_images(batch: Tensor, config: ImageAugment) -> Tensor:
    """Changes images ``(B, C, H, W)`` with values 0..255; the answer is float32 on the same scale.

    Args:
        batch: uint8 or floating point.
        config: what may be changed, and how much.
    """
    images = batch.float() / 255
    geometry, colour = _steps(config, batch.shape[1], batch.shape[2], batch.shape[3])
    with torch.no_grad():
        if len(geometry):
            # Relative to the border colour, so that what a rotation or a shift uncovers (zeros) shows that colour.
            ground = border_colours(images)[:, :, None, None]
            images = geometry(images - ground) + ground
        changed: Tensor = colour(images.clamp(0, 1)).clamp(0, 1) * 255
        return changed


def border_colours(images: Tensor) -> Tensor:
    """The median colour of the outermost pixels, ``(B, C)``: what a paper, a wall or a sensor's void shows there."""
    edge = torch.cat([images[:, :, 0], images[:, :, -1], images[:, :, :, 0], images[:, :, :, -1]], dim=2)
    return edge.float().median(dim=2).values


@cache
def _steps(config: ImageAugment, channels: int, height: int, width: int) -> tuple[nn.Sequential, nn.Sequential]:
    geometry: list[nn.Module] = []
    if config.crop is not None:
        geometry.append(K.RandomResizedCrop((height, width), scale=config.crop, p=1.0))
    if config.rotate or config.translate or config.scale != (1, 1):
        shift = (config.translate, config.translate)
        geometry.append(K.RandomAffine(config.rotate, shift, config.scale, p=1.0))
    if config.flip:
        geometry.append(K.RandomHorizontalFlip(p=config.flip))
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
    return nn.Sequential(*geometry), nn.Sequential(*colour)
