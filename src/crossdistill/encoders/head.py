"""Projection heads: from the width of a student's features to the width of the teacher's space."""

from __future__ import annotations

from typing import Literal

from torch import nn

from crossdistill.errors import EncoderError

HeadKind = Literal["none", "linear", "mlp"]


def build_head(kind: HeadKind, width_in: int, width_out: int) -> nn.Module:
    """A head from ``(B, width_in)`` to ``(B, width_out)``.

    Args:
        kind: ``none`` (identity, equal widths only), ``linear``, or ``mlp`` (one hidden layer with batch norm, as in
            SimCLR, arXiv 2002.05709).

    Raises:
        EncoderError: ``none`` with unequal widths.
    """
    if kind == "none":
        if width_in != width_out:
            raise EncoderError(
                "The student has no head and another width than the teacher.",
                expected=f"{width_out} features, as the teacher gives",
                received=f"{width_in} features",
                fix="set student.head to linear or mlp",
            )
        return nn.Identity()
    if kind == "linear":
        return nn.Linear(width_in, width_out)
    hidden = max(width_in, width_out) // 2
    return nn.Sequential(
        nn.Linear(width_in, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, width_out)
    )
