"""Backbones for vectors, such as another encoder's embeddings: ``identity``, and ``mlp_WIDTHxLAYERS``."""

from __future__ import annotations

import re
from itertools import pairwise

from torch import nn

from crossdistill.errors import EncoderError
from crossdistill.modalities import InputDefaults

IDENTITY = "identity"
MLP = "mlp"  # short for mlp_512x2
VECTOR_BACKBONES = (IDENTITY, MLP)

# What an encoder of vectors was trained with is known to its run alone: nothing is shifted or scaled.
VECTOR_DEFAULTS = InputDefaults(size=1, mean=(0.0,), std=(1.0,), interpolation="nearest")

_MLP = re.compile(rf"{MLP}(?:_(\d+)x(\d+))?")
_WIDEST, _DEEPEST = 16_384, 64


def takes_vectors(name: str) -> bool:
    """Whether ``name`` is a backbone for vectors ``(B, width)``."""
    return name == IDENTITY or _MLP.fullmatch(name) is not None


def build_vector_backbone(name: str, width: int) -> nn.Module:
    """A backbone for vectors ``(B, width)``.

    Args:
        name: ``identity`` passes them on as they are; ``mlp_WIDTHxLAYERS`` has so many layers of that width, each a
            linear map, a layer norm and a GELU (``mlp`` is ``mlp_512x2``).
        width: of the vectors.

    Raises:
        EncoderError: a width or number of layers that is out of range.
    """
    found = _MLP.fullmatch(name)
    if found is None:
        return nn.Identity()
    hidden, layers = (int(found[1]), int(found[2])) if found[1] else (512, 2)
    if not (1 <= hidden <= _WIDEST and 1 <= layers <= _DEEPEST):
        raise EncoderError(
            "The backbone cannot be built.", where=name,
            expected=f"mlp_WIDTHxLAYERS with a width up to {_WIDEST:,} and up to {_DEEPEST} layers",
        )  # fmt: skip
    widths = [width, *[hidden] * layers]
    return nn.Sequential(
        *(nn.Sequential(nn.Linear(before, after), nn.LayerNorm(after), nn.GELU()) for before, after in pairwise(widths))
    )
