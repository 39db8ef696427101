"""RKD, relational knowledge distillation: distances between items, and angles among triples, are carried over."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from crossdistill.objectives.core import Batch, Objective
from crossdistill.objectives.core.blocks import sum_over_blocks
from crossdistill.objectives.core.row_blocks import block_rows, refuse_second_derivatives
from crossdistill.objectives.core.rows import check_positive, check_weight
from crossdistill.objectives.core.similarity_loss import MEMORY_MB

_SMALLEST = 1e-12  # squared distance; below it a distance has no gradient


class RKD(Objective):
    """Huber losses between distances, divided by their mean, and between the cosines of angles, of unit embeddings.

    ``distance_weight / B^2 sum_ij h(d_ij^S / mean d^S - d_ij^T / mean d^T)
    + angle_weight / B^3 sum_ijk h(cos_ijk^S - cos_ijk^T)``, with the angle at j between i and k.

    Source: Park et al., arXiv 1904.05068, equations 5 to 9, with the weights of its distillation experiments. The
    angles take O(B^3 min(B, d)) operations, and memory for a few ``B x B`` matrices at least. Like CMD it gives no
    common space on its own.

    Args:
        distance_weight: of RKD-D.
        angle_weight: of RKD-A; 0 saves its cost.
        memory_mb: budget for the tiles, in MiB.
    """

    search = (("distance_weight", (25.0, 5.0, 100.0)),)

    def __init__(self, distance_weight: float = 25.0, angle_weight: float = 50.0, memory_mb: float = MEMORY_MB) -> None:
        super().__init__()
        self.distance_weight = check_weight(distance_weight, what="weight of distances", name="rkd")
        self.angle_weight = check_weight(angle_weight, what="weight of angles", name="rkd")
        self.memory_mb = check_positive(memory_mb, what="memory budget", name="rkd")

    def loss(self, batch: Batch) -> Tensor:
        """See the class."""
        student, teacher, count = batch.unit_student, batch.unit_teacher, len(batch)
        memory, item = int(self.memory_mb * 2**20), student.element_size()
        block = block_rows(memory, len(batch), 6, item)
        mean_student = batch.total(sum_over_blocks(lambda part: _distances(student, part).sum(), batch.mine, block))
        mean_teacher = batch.total(sum_over_blocks(lambda part: _distances(teacher, part).sum(), batch.mine, block))
        pairs = max(1, count * (count - 1))
        mean_student, mean_teacher = ((mean / pairs).clamp(min=1e-6) for mean in (mean_student, mean_teacher))

        def distance_loss(part: slice) -> Tensor:
            ours, theirs = _distances(student, part) / mean_student, _distances(teacher, part) / mean_teacher
            return F.smooth_l1_loss(ours, theirs, reduction="sum")

        loss = self.distance_weight * sum_over_blocks(distance_loss, batch.mine, block) / count**2
        if self.angle_weight:
            ours, theirs = _in_their_span(student), _in_their_span(teacher)

            def angle_loss(part: slice) -> Tensor:
                return F.smooth_l1_loss(_angles(ours, part), _angles(theirs, part), reduction="sum")

            block = block_rows(memory, len(batch), 4 * (len(batch) + ours.shape[1]), item)
            loss = loss + self.angle_weight * sum_over_blocks(angle_loss, batch.mine, block) / count**3
        return batch.total(loss)


def _distances(unit: Tensor, part: slice) -> Tensor:
    """Distances of some rows to all, ``(R, B)``; zero to themselves."""
    rows = unit[part]
    squared = rows.square().sum(dim=1)[:, None] + unit.square().sum(dim=1) - 2 * rows @ unit.T
    itself = torch.arange(part.start, part.stop, device=unit.device)[:, None] == torch.arange(
        len(unit), device=unit.device
    )
    return squared.clamp(min=_SMALLEST).sqrt().masked_fill(itself, 0.0)


def _in_their_span(rows: Tensor) -> Tensor:
    """Rows ``(B, d)`` in coordinates of the space that they span, ``(B, min(B, d))``: all angles are as they were."""
    if len(rows) >= rows.shape[1]:
        return rows
    with torch.no_grad():
        basis, _ = torch.linalg.qr(rows.T.to(torch.promote_types(rows.dtype, torch.float32)))
    return _Coordinates.apply(rows, basis.to(rows.dtype))  # type: ignore[no-any-return]


class _Coordinates(torch.autograd.Function):
    """Coordinates in a basis that is itself the rows': a step out of their span changes no angle, but only to first
    order, so that second derivatives would miss something."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, basis: Tensor) -> Tensor:
        """``(B, d)`` and ``(d, B)`` to ``(B, B)``."""
        ctx.save_for_backward(basis)
        return rows @ basis

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """Back into the space around."""
        refuse_second_derivatives()
        (basis,) = ctx.saved_tensors
        return gradient @ basis.T, None


def _angles(unit: Tensor, part: slice) -> Tensor:
    """Cosines of the angles at some rows between all pairs of rows, ``(R, B, B)``."""
    away = unit[None] - unit[part, None]
    away = away * away.square().sum(dim=2, keepdim=True).clamp(min=_SMALLEST).rsqrt()  # zero stays zero, twice smooth
    return away @ away.transpose(1, 2)


OBJECTIVE = RKD
