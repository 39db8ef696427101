"""Decoders: from feature maps of several scales to a class for each pixel."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from crossdistill.encoders import Level
from crossdistill.errors import MissingDependencyError
from crossdistill.evaluation.segmentation_config import HeadName

_WIDTH = 64  # of the light head


def build_head(name: HeadName, levels: Sequence[Level], channels: int, classes: int) -> nn.Module:
    """A decoder of random weights, from torch's global generator.

    Args:
        name: ``light``, or ``unet`` or ``fpn`` of segmentation-models-pytorch.
        levels: the maps that it will be given, fine to coarse.
        channels: of the items.
        classes: number of classes.

    Returns:
        Called with maps ``(B, c, h, w)`` of each level and the items' height and width, it gives logits
        ``(B, classes, height, width)``.

    Raises:
        MissingDependencyError: segmentation-models-pytorch is needed and not installed.
    """
    if name == "light":
        return LightHead([level.channels for level in levels], classes)
    check_installed(name)
    from crossdistill.segmentation.smp_heads import SmpHead

    return SmpHead(name, levels, channels, classes)


def check_installed(name: HeadName) -> None:
    """Whether a decoder can be built here.

    Raises:
        MissingDependencyError: it needs a package that is not installed.
    """
    if name == "light":
        return
    try:
        import segmentation_models_pytorch  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            "This decoder needs the package segmentation-models-pytorch.", where=f"evaluate.segmentation.head: {name}",
            fix="pip install 'crossdistill[segmentation]', or set head: light, which needs nothing",
        ) from error  # fmt: skip


class LightHead(nn.Module):
    """1x1 convolutions over the maps of all scales, brought to the size of the finest: no place sees another.

    As the decoder of SegFormer (arXiv 2105.15203), with the maps standardised first: those of a frozen backbone have
    whatever scale they have. What it can tell about a pixel is what the backbone says of that place.

    Args:
        channels: of the maps, fine to coarse.
        classes: number of classes.
        width: of each map after the first convolution.
    """

    def __init__(self, channels: Sequence[int], classes: int, width: int = _WIDTH) -> None:
        super().__init__()
        self.narrow = nn.ModuleList(
            nn.Sequential(nn.BatchNorm2d(each, affine=False), nn.Conv2d(each, width, 1, bias=False))
            for each in channels
        )
        self.mix = nn.Sequential(
            nn.Conv2d(width * len(channels), width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)
        )
        self.classify = nn.Conv2d(width, classes, 1)

    def forward(self, maps: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """Maps ``(B, c, h, w)`` to logits ``(B, classes, *size)``."""
        narrow = [layer(each) for layer, each in zip(self.narrow, maps, strict=True)]
        finest = narrow[0].shape[-2:]
        # A 1x1 convolution and an interpolation change places; this order is the cheaper one.
        joined = torch.cat([resized(each, finest) for each in narrow], dim=1)
        return resized(self.classify(self.mix(joined)), size)


def resized(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Maps ``(B, c, h, w)`` at another size, bilinear; as they are where they have it."""
    if tuple(maps.shape[-2:]) == tuple(size):
        return maps
    return F.interpolate(maps, size=list(size), mode="bilinear", align_corners=False)
