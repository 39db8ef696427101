"""Backbones by name: timm's, which take pictures, and those for vectors."""

from __future__ import annotations

from torch import nn

from crossdistill.encoders.timm_backbone import build_timm_backbone, timm_defaults
from crossdistill.encoders.vector_backbone import (
    IDENTITY,
    VECTOR_BACKBONES,
    VECTOR_DEFAULTS,
    build_vector_backbone,
    takes_vectors,
)
from crossdistill.errors import EncoderError
from crossdistill.modalities import InputDefaults


def backbone_defaults(name: str) -> InputDefaults:
    """What the weights that are published under this name were trained with.

    Raises:
        EncoderError: there is no such backbone.
    """
    return VECTOR_DEFAULTS if takes_vectors(name) else timm_defaults(name)


def build_backbone(
    name: str, shape: tuple[int, ...], *, pretrained: bool = False, patch_size: int | None = None
) -> nn.Module:
    """A backbone that ends in one vector of features.

    Args:
        name: timm name, with or without a tag (``resnet18.a1_in1k``), or one of
            :mod:`~crossdistill.encoders.vector_backbone`.
        shape: of an item: ``(..., C, H, W)``, or ``(width,)`` for vectors.
        pretrained: whether to fetch timm's weights.
        patch_size: see :func:`~crossdistill.encoders.timm_backbone.build_timm_backbone`.

    Raises:
        EncoderError: unknown name, a backbone for another kind of input, a size it cannot be built for, or weights that
            cannot be had.
    """
    backbone_defaults(name)  # refuses an unknown name
    if takes_vectors(name) != (len(shape) == 1):
        vectors, pictures = f"vectors ({', '.join(VECTOR_BACKBONES)})", "pictures (any timm name)"
        raise EncoderError(
            "The backbone takes another kind of input than the modality gives.", where=name,
            expected=f"a backbone for {vectors if len(shape) == 1 else pictures}",
            received=f"a backbone for {'vectors' if takes_vectors(name) else 'pictures'}, items of shape {shape}",
            fix=f"set backbone: {'mlp' if len(shape) == 1 else 'resnet18'}, or change the modality",
        )  # fmt: skip
    if not takes_vectors(name):
        return build_timm_backbone(
            name, shape[-3], (shape[-2], shape[-1]), pretrained=pretrained, patch_size=patch_size
        )
    if patch_size is not None:
        raise EncoderError(
            "This backbone has no patches.", where=name, received=f"patch_size {patch_size}", fix="leave patch_size out"
        )  # fmt: skip
    if pretrained and name != IDENTITY:
        raise EncoderError(
            "There are no published weights of this backbone.", where=name, received="weights: pretrained",
            fix="set weights to random, a weights file, or a run folder",
        )  # fmt: skip
    return build_vector_backbone(name, shape[0])
