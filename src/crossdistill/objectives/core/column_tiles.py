"""Rows against the frozen columns of a whole bank: tiles of columns, each read once, with online softmaxes.

With every tile the running maximum, total and weighted mean of the columns are brought up to date (as in online
softmax, arXiv 1805.02867, and FlashAttention, arXiv 2205.14135). The weighted mean is all that the gradient needs:

    d/d row_i [ log sum_j exp(scale <row_i, c_j>) ] = scale * sum_j softmax_ij c_j

so that two matrix products a tile do for value and gradient together, nothing is recomputed in the backward pass, and
memory is O(rows x (tile + width)), whatever the size of the bank.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from crossdistill.objectives.core.columns import TeacherColumns
from crossdistill.objectives.core.fused import fused
from crossdistill.objectives.core.ranks import reduce_
from crossdistill.objectives.core.row_blocks import Target, contrast, own_logit, refuse_second_derivatives
from crossdistill.objectives.core.same_item import EXCLUDED, SameItem

_LARGEST_TILE = 1024  # columns: on a CPU they should stay in its cache
_LARGEST_TILE_ELSEWHERE = 16_384  # an accelerator is only busy with large ones


def tile_columns(memory: int, anchors: Tensor) -> int:
    """How many columns at once fit into a memory budget in bytes beside anchors ``(B, d)``, at least one."""
    largest = _LARGEST_TILE if anchors.device.type == "cpu" else _LARGEST_TILE_ELSEWHERE
    rows, width = anchors.shape
    return max(1, min(largest, memory // max(1, (rows + 2 * width) * anchors.element_size())))


@fused
def _online_(logits: Tensor, largest: Tensor, total: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Overwrites logits ``(B, C)`` by their weights; the new maximum, total, and what the old weights shrink by."""
    higher = torch.maximum(largest, logits.amax(dim=1))
    shrink = torch.exp(largest - higher)
    logits.sub_(higher[:, None]).exp_()
    return higher, total * shrink + logits.sum(dim=1), shrink


class _Softmax:
    """A softmax over columns that arrive tile by tile, and the mean of the columns under it."""

    def __init__(self, anchors: Tensor, *, with_mean: bool) -> None:
        self.largest = anchors.new_full((len(anchors),), EXCLUDED)
        self.total = anchors.new_zeros(len(anchors))
        self.mean = torch.zeros_like(anchors) if with_mean else None  # times ``total`` until it is finished

    def add(self, logits: Tensor, tile: Tensor) -> None:
        """Logits ``(B, C)`` of a tile of columns ``(C, d)``."""
        # While a row has seen nothing but excluded cells these have weight one; the first real one shrinks them to 0.
        self.largest, self.total, shrink = _online_(logits, self.largest, self.total)
        if self.mean is not None:
            self.mean.mul_(shrink[:, None]).addmm_(logits, tile)

    def reduce(self) -> None:
        """Puts the ranks' columns together."""
        highest = reduce_(self.largest.clone(), largest=True)
        shrink = torch.exp(self.largest - highest)
        self.largest, self.total = highest, reduce_(self.total * shrink)
        if self.mean is not None:
            reduce_(self.mean.mul_(shrink[:, None]))

    def finish(self, own_logits: Tensor, own: Tensor | None) -> None:
        """Adds the rows' own columns ``(B, d)`` and divides."""
        highest = torch.maximum(self.largest, own_logits)
        shrink, own_part = torch.exp(self.largest - highest), torch.exp(own_logits - highest)
        self.largest, self.total = highest, self.total * shrink + own_part
        if self.mean is not None:
            self.mean.mul_(shrink[:, None])
            if own is not None:
                self.mean.addcmul_(own, own_part[:, None])
            self.mean.div_(self.total.clamp(min=torch.finfo(self.total.dtype).tiny)[:, None])

    def contrast(self, own_logits: Tensor, own: Tensor | None, power: float) -> tuple[Tensor, Tensor | None]:
        """Losses ``(B,)`` with all of the target on the own columns ``(B, d)``, and their gradient over scale."""
        highest = torch.maximum(self.largest, own_logits)
        shrink = torch.exp(self.largest - highest)
        others = self.total * shrink
        losses, slope, total = contrast(others, own_logits - highest, power)
        if self.mean is None or own is None:
            return losses, None
        gradient = self.mean.mul_(shrink[:, None]).addcmul_(own, others[:, None], value=-1)
        return losses, gradient.mul_((slope / total)[:, None])


class ColumnTiles(torch.autograd.Function):
    """Sum over the rows of the (softened) cross-entropy; see :mod:`~crossdistill.objectives.core.similarity_loss`."""

    @staticmethod
    def forward(
        ctx: Any,
        rows: Tensor,
        columns: TeacherColumns,
        scale: Tensor,
        own: Tensor | None,
        target: Target | None,
        same: SameItem,
        power: float,
        memory: int,
    ) -> Tensor:
        """Rows ``(B, d)``, frozen columns, scale scalar, own ``(B, d)`` to a scalar."""
        need_rows, need_scale = ctx.needs_input_grad[0], ctx.needs_input_grad[2]
        student = _Softmax(rows, with_mean=need_rows or need_scale)
        teacher = None if target is None else _Softmax(rows, with_mean=True)
        scaled = rows * scale
        scaled_target = None if target is None else target.anchors * target.scale
        size = tile_columns(memory, rows)
        size = max(1, min(size, len(columns)))
        buffer = rows.new_empty(len(rows) * size)
        for tile, cells in zip(columns.tiles(size, like=rows), same.blocks_of_columns(size), strict=True):
            logits = buffer[: len(rows) * len(tile)].view(len(rows), len(tile))
            for softmax, anchors in ((student, scaled), (teacher, scaled_target)):
                if softmax is not None and anchors is not None:
                    torch.mm(anchors, tile.T, out=logits)
                    cells.exclude_(logits)
                    softmax.add(logits, tile)
        for softmax in (student, teacher):
            if softmax is not None and columns.sharded:
                softmax.reduce()

        own_logits = own_logit(rows, own, scale)
        row_gradient: Tensor | None = None
        if target is None or teacher is None or teacher.mean is None:
            losses, row_gradient = student.contrast(own_logits, own, power)
        else:
            student.finish(own_logits, own)
            teacher.finish(own_logit(target.anchors, own, target.scale), own)
            some = student.largest > EXCLUDED / 2  # an anchor without any candidate adds nothing
            # The mean of the logits is the logit of the mean.
            entropy = student.largest + torch.log(student.total) - (scaled * teacher.mean).sum(dim=1)
            losses = torch.where(some, entropy, torch.zeros_like(entropy))
            if student.mean is not None:
                row_gradient = (student.mean - teacher.mean).mul_(some[:, None])
        scale_gradient = (row_gradient * rows).sum() if row_gradient is not None and need_scale else None
        row_gradient = row_gradient.mul_(scale) if row_gradient is not None and need_rows else None
        ctx.save_for_backward(row_gradient, scale_gradient)
        return losses.sum()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of the forward pass times that of the sum."""
        refuse_second_derivatives()
        rows, scale = (None if each is None else each * gradient for each in ctx.saved_tensors)
        return rows, None, scale, None, None, None, None, None
