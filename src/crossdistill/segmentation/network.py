"""A backbone under a decoder."""

from __future__ import annotations

import copy
from typing import Self

from torch import Tensor, nn

from crossdistill.encoders import Encoder, chosen_levels, feature_maps, plain_backbone, without_the_rest
from crossdistill.evaluation.segmentation_config import HeadName
from crossdistill.segmentation.heads import build_head


class Segmenter(nn.Module):
    """A copy of an encoder's backbone under a new decoder, whose weights come from torch's global generator.

    Args:
        encoder: what to start from; it stays as it is.
        head: name of the decoder.
        classes: number of classes.
        frozen: whether the backbone stays as it is: in eval mode, and without gradients.

    Raises:
        EncoderError: the encoder has no feature maps.
        MissingDependencyError: the decoder needs a package that is not installed.
    """

    def __init__(self, encoder: Encoder, head: HeadName, classes: int, *, frozen: bool) -> None:
        super().__init__()
        self.levels = chosen_levels(encoder)
        self.frozen = frozen
        self.head = build_head(head, self.levels, encoder.modality.shape[0], classes)
        self.backbone = without_the_rest(copy.deepcopy(plain_backbone(encoder)), self.levels)
        self.backbone.requires_grad_(not frozen)
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Training mode, but for a frozen backbone, whose running statistics stay too."""
        super().train(mode)
        if self.frozen:
            self.backbone.eval()
        return self

    def forward(self, images: Tensor) -> Tensor:
        """Normalised items ``(B, C, H, W)`` to logits ``(B, classes, H, W)``."""
        maps = feature_maps(self.backbone, images, self.levels)
        if self.frozen:
            maps = [each.detach() for each in maps]
        logits: Tensor = self.head(maps, (images.shape[-2], images.shape[-1]))
        return logits
