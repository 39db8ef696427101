"""Feature maps of a backbone: what it makes of each place of a picture, on several scales or on one.

They come from the very network that was distilled, through timm's ``forward_intermediates``: no weights are copied into
another form, so that none can be lost on the way. A transformer's tokens are laid out as the grid that they came from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from crossdistill.encoders.encoder import Encoder
from crossdistill.errors import EncoderError

_BLOCKS = 4  # of a backbone of one scale: so many of its blocks are used, evenly spread, the last among them


@dataclass(frozen=True)
class Level:
    """One of a backbone's feature maps.

    Attributes:
        index: its number among all of them, from the input on.
        channels: of the map.
        stride: pixels of the input from one place of the map to the next.
    """

    index: int
    channels: int
    stride: int


def levels_of(encoder: Encoder, *, anywhere: bool = False) -> tuple[Level, ...]:
    """All feature maps of an encoder, fine to coarse.

    Args:
        encoder: with its modality.
        anywhere: also where places of an item are none of a picture's, as in a spectrogram, or are those of frames.

    Raises:
        EncoderError: it has none: its items are no pictures, or its backbone is none of timm's.
    """
    backbone: Any = encoder.backbone
    shape = encoder.modality.shape
    has_maps = all(hasattr(backbone, name) for name in ("forward_intermediates", "feature_info", "forward_head"))
    on_a_grid = len(shape) == 3 and encoder.modality.geometry is not None
    if not (on_a_grid or (anywhere and len(shape) >= 3)) or not has_maps:
        raise EncoderError(
            "This encoder has no feature maps.", where=encoder.architecture.backbone,
            expected="a backbone of timm (resnet18, vit_tiny_patch16_224) that takes pictures on a grid",
            received=f"{type(backbone).__name__}, items of {encoder.modality.modality} of shape {shape}",
        )  # fmt: skip
    return tuple(
        Level(index, int(each["num_chs"]), int(each["reduction"])) for index, each in enumerate(backbone.feature_info)
    )


def chosen_levels(encoder: Encoder) -> tuple[Level, ...]:
    """The maps that a decoder uses: one of every scale (the last of it), or four of a backbone that has one scale.

    Raises:
        EncoderError: see :func:`levels_of`.
    """
    levels = levels_of(encoder)
    by_stride = {level.stride: level for level in levels}
    if len(by_stride) > 1:
        return tuple(sorted(by_stride.values(), key=lambda level: level.stride))
    count = min(_BLOCKS, len(levels))
    return tuple(levels[(place + 1) * len(levels) // count - 1] for place in range(count))


def feature_maps(backbone: nn.Module, items: Tensor, levels: Sequence[Level]) -> list[Tensor]:
    """Normalised items ``(B, C, H, W)`` to maps ``(B, c, h, w)``, one of each level."""
    network: Any = backbone
    found: list[Tensor] = network.forward_intermediates(
        items, indices=[level.index for level in levels], output_fmt="NCHW", intermediates_only=True
    )
    return found


def without_the_rest(backbone: nn.Module, levels: Sequence[Level]) -> nn.Module:
    """The backbone, in place, without the layers after the last of some maps: they would be trained on nothing."""
    network: Any = backbone
    network.prune_intermediate_layers([level.index for level in levels], prune_norm=True, prune_head=True)
    return backbone
