"""Random changes of where things are, as one affine map an item: so that two modalities can be changed alike."""

from __future__ import annotations

import math

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.nn import functional as F

from crossdistill import draws


class Geometry(BaseModel):
    """Random changes of where things are, for images and for everything else on a grid."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    crop: tuple[float, float] | None = Field(None, description="area range of a random resized crop")
    flip: float = Field(0.5, ge=0, le=1, description="probability of a horizontal flip")
    rotate: float = Field(15.0, ge=0, le=180, description="largest rotation, in degrees")
    translate: float = Field(0.1, ge=0, le=1, description="largest shift, as a fraction of the side")
    scale: tuple[float, float] = Field((0.85, 1.15), description="range of the zoom")

    @property
    def changes(self) -> bool:
        """Whether anything can change."""
        return bool(self.crop or self.flip or self.rotate or self.translate or self.scale != (1, 1))

    def geometry_alone(self) -> Geometry:
        """The same without what a subclass adds to it."""
        return Geometry(**{name: getattr(self, name) for name in Geometry.model_fields})


_ASPECT = 4 / 3  # of a random resized crop, and its inverse


def draw_placements(change: Geometry, count: int, generator: torch.Generator | None = None) -> Tensor:
    """Random affine maps ``(count, 2, 3)`` from places in the changed item to places in the item, both in -1..1.

    They do not depend on the resolution: one placement changes a photograph of 224 and a depth map of 64 pixels alike.

    Args:
        change: what may be changed, and how much.
        count: items.
        generator: of the random numbers; default: torch's global one.
    """

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * draws.rand(count, generator=generator)

    angle = uniform(-change.rotate, change.rotate) * (math.pi / 180)
    zoom = uniform(*change.scale)
    flip = torch.where(draws.rand(count, generator=generator) < change.flip, -1.0, 1.0)
    cosine, sine = angle.cos() / zoom, angle.sin() / zoom
    linear = torch.stack([torch.stack([cosine * flip, sine], -1), torch.stack([-sine * flip, cosine], -1)], 1)
    shift = torch.stack([uniform(-change.translate, change.translate) * 2 for _ in range(2)], -1)
    if change.crop is not None:
        # Drawn as in torchvision's RandomResizedCrop: area uniform, aspect uniform in its logarithm.
        area, aspect = uniform(*change.crop), uniform(-math.log(_ASPECT), math.log(_ASPECT)).exp()
        size = torch.stack([(area * aspect).sqrt(), (area / aspect).sqrt()], -1).clamp(max=1)
        centre = (1 - size) * (2 * draws.rand(count, 2, generator=generator) - 1)
        linear, shift = size[:, :, None] * linear, centre + size * shift
    return torch.cat([linear, shift[:, :, None]], dim=2)


def place(images: Tensor, placements: Tensor) -> Tensor:
    """Images ``(B, C, H, W)``, floating, changed by ``placements`` ``(B, 2, 3)``.

    What comes into the picture from outside has the colour of the border.
    """
    with torch.no_grad():
        # Relative to the border colour, so that what a rotation or a shift uncovers (zeros) shows that colour.
        ground = border_colours(images)[:, :, None, None]
        grid = F.affine_grid(placements.to(images), list(images.shape), align_corners=False)
        return F.grid_sample(images - ground, grid, mode="bilinear", padding_mode="zeros", align_corners=False).add_(
            ground
        )


def place_labels(labels: Tensor, placements: Tensor, outside: int) -> Tensor:
    """Labels of places ``(B, H, W)``, whole numbers, changed by ``placements`` ``(B, 2, 3)`` as :func:`place` does.

    Each place has the label of the nearest one in the item; what comes from outside of it has the label ``outside``.
    """
    grid = F.affine_grid(placements.float(), [len(labels), 1, *labels.shape[1:]], align_corners=False)
    # Zeros come in from outside, so that labels are counted from there.
    shifted = (labels.float() - outside)[:, None]
    placed = F.grid_sample(shifted, grid, mode="nearest", padding_mode="zeros", align_corners=False)
    return (placed[:, 0].round() + outside).to(labels.dtype)


def border_colours(images: Tensor) -> Tensor:
    """The median colour of the outermost pixels, ``(B, C)``: what a paper, a wall or a sensor's void shows there."""
    edge = torch.cat([images[:, :, 0], images[:, :, -1], images[:, :, :, 0], images[:, :, :, -1]], dim=2)
    return edge.float().median(dim=2).values
