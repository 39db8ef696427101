"""The decoders of segmentation-models-pytorch over a backbone that was distilled.

The package takes encoders that speak its interface: ``out_channels``, and maps at strides 1, 2, 4, ... Ours hands on
the maps that it is given, so that the backbone itself stays outside and is one and the same under every decoder.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import segmentation_models_pytorch as smp
from segmentation_models_pytorch.encoders import encoders as known_encoders
from segmentation_models_pytorch.encoders._base import EncoderMixin
from torch import Tensor, nn
from torch.nn import functional as F

from crossdistill.encoders import Level
from crossdistill.segmentation.heads import resized

_NAME = "crossdistill-maps"
_STRIDES = 5  # of the pyramid of a backbone that has one scale: 2 to 32
_UNET = (256, 128, 64, 32, 16)  # channels of its blocks, coarse to fine, as the package has them
_SMALLEST_FPN = 3  # its least depth


class MapsEncoder(nn.Module, EncoderMixin):  # type: ignore[misc]  # the package has no types
    """An encoder in the package's sense whose maps were computed before.

    Args:
        channels: of the maps at strides 1, 2, 4 and so on; 0 where the backbone has none of a stride.
        depth: how many of them after the first.
        output_stride: always the coarsest one.
    """

    def __init__(self, channels: Sequence[int], depth: int = 5, output_stride: int = 32) -> None:
        super().__init__()
        self._depth, self._output_stride, self._in_channels = depth, output_stride, channels[0]
        self._out_channels = list(channels)

    def set_in_channels(self, in_channels: int, pretrained: bool = True) -> None:
        """There is no convolution to adapt: the backbone takes the items' channels as they are."""

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """The maps."""
        return maps


class SmpHead(nn.Module):
    """A decoder of segmentation-models-pytorch; see :func:`~crossdistill.segmentation.heads.build_head`.

    A backbone of one scale (a vision transformer) is given a pyramid of scales by interpolation, each from another of
    its blocks, as in the simple feature pyramid of ViTDet (arXiv 2203.16527) without its convolutions.
    """

    def __init__(self, name: Literal["unet", "fpn"], levels: Sequence[Level], channels: int, classes: int) -> None:
        super().__init__()
        self.strides, self.sources = _pyramid(levels)
        depth = len(self.strides)
        widths = [channels, *(0 if source is None else levels[source].channels for source in self.sources)]
        with _registered(widths):
            common: dict[str, Any] = {"encoder_name": _NAME, "encoder_depth": depth, "encoder_weights": None,
                                      "in_channels": channels, "classes": classes}  # fmt: skip
            network = (
                smp.Unet(**common, decoder_channels=_UNET[-depth:] if depth <= len(_UNET) else _widths(depth))
                if name == "unet"
                else smp.FPN(**common)
            )
        self.doubling = name == "fpn"
        self.encoder, self.decoder, self.classify = network.encoder, network.decoder, network.segmentation_head

    def forward(self, maps: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """Maps ``(B, c, h, w)`` to logits ``(B, classes, *size)``."""
        batch = maps[0]
        coarsest = [math.ceil(side / self.strides[-1]) for side in size]
        pyramid = [batch.new_zeros(len(batch), 0, *size)]  # the items themselves take no part in any decoder
        for stride, source in zip(self.strides, self.sources, strict=True):
            # Each block of a feature pyramid doubles the size exactly.
            exact = [side * self.strides[-1] // stride for side in coarsest]
            wanted = exact if self.doubling else [math.ceil(side / stride) for side in size]
            pyramid.append(
                batch.new_zeros(len(batch), 0, *wanted) if source is None else _brought_to(maps[source], wanted)
            )
        logits: Tensor = self.classify(self.decoder(self.encoder(pyramid)))
        return resized(logits, size)


def _pyramid(levels: Sequence[Level]) -> tuple[list[int], list[int | None]]:
    """Strides 2, 4, ... and for each the place of the map that serves it; None where there is none."""
    if len({level.stride for level in levels}) == 1:
        # Finer scales from earlier blocks, the coarsest from the last.
        count = len(levels)
        return [2 << place for place in range(_STRIDES)], [
            *(min(count - 1, place * count // _STRIDES) for place in range(_STRIDES - 1)),
            count - 1,
        ]
    depth = max(_SMALLEST_FPN, round(math.log2(levels[-1].stride)))
    strides = [2 << place for place in range(depth)]
    own = {round(math.log2(level.stride)): place for place, level in enumerate(levels)}
    return strides, [own.get(place + 1) for place in range(depth)]


def _widths(depth: int) -> tuple[int, ...]:
    return (*(_UNET[0],) * (depth - len(_UNET)), *_UNET)


def _brought_to(maps: Tensor, size: Sequence[int]) -> Tensor:
    if size[0] < maps.shape[-2]:
        return F.adaptive_avg_pool2d(maps, (size[0], size[1]))
    return resized(maps, size)


@contextmanager
def _registered(channels: Sequence[int]) -> Iterator[None]:
    """Within the block the package knows our encoder by its name."""
    known_encoders[_NAME] = {"encoder": MapsEncoder, "pretrained_settings": {}, "params": {"channels": channels}}
    try:
        yield
    finally:
        known_encoders.pop(_NAME, None)
