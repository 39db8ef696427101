"""Rows against columns that are trained too: whole rows, a block at a time, with the gradient taken on the way.

A softmax needs its whole row and nothing else. So a block of rows is compared with all columns, and its share of the
gradient is added up before the next block overwrites it: nothing is kept for the backward pass but the gradients of
the inputs, and nothing is computed twice. Memory is O(block x columns) instead of O(rows x columns).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from crossdistill.objectives.core.fused import fused
from crossdistill.objectives.core.same_item import EXCLUDED, SameItem

_LARGEST_BLOCK = 256  # rows: a larger block brings hardly any speed


class Target(NamedTuple):
    """The distribution that a row's should equal, ``softmax(scale * anchors @ columns.T)``; it has no gradient.

    Attributes:
        anchors: unit rows ``(B, d)``.
        columns: unit rows ``(N, d)``; the bank itself where the rows are compared with a bank.
        scale: 1/tau.
    """

    anchors: Tensor
    columns: Tensor | None
    scale: Tensor


def block_rows(memory: int, columns: int, buffers: int, item: int) -> int:
    """How many rows at once fit into a memory budget in bytes, at least one."""
    return max(1, min(_LARGEST_BLOCK, memory // max(1, columns * buffers * item)))


def own_logit(anchors: Tensor, own: Tensor | None, scale: Tensor) -> Tensor:
    """Logits ``(B,)`` of the rows' own columns; excluded where there are none."""
    if own is None:
        return anchors.new_full((len(anchors),), EXCLUDED)
    return (anchors * own).sum(dim=1) * scale


def soften(entropy: Tensor, power: float) -> tuple[Tensor, Tensor]:
    """``(1 - exp(-power * entropy)) / power`` and its derivative, both ``(B,)``; the entropy itself for power 0."""
    if power == 0:
        return entropy, torch.ones_like(entropy)
    return -torch.expm1(-power * entropy) / power, torch.exp(-power * entropy)


def contrast(others: Tensor, own: Tensor, power: float) -> tuple[Tensor, Tensor, Tensor]:
    """Softened cross-entropy, its slope, and the softmax's total, from the exponentials' sum and the own logit.

    Exact where the own column has nearly all the weight, as it has at low temperatures: the entropy is then
    ``log(1 + others)``, and its derivative by the own logit ``others / total``; neither is a small difference.
    """
    own_part = torch.exp(own)
    total = others + own_part
    entropy = torch.where(own >= 0, torch.log1p(others / own_part), torch.log(total) - own)
    return *soften(entropy, power), total


def row_dots(first: Tensor, second: Tensor) -> Tensor:
    """``(R, N)`` twice to their rows' inner products ``(R,)``, without a third ``(R, N)``."""
    if first.device.type == "cpu":
        return torch.bmm(first[:, None], second[:, :, None])[:, 0, 0]
    return (first * second).sum(dim=1)


def refuse_second_derivatives() -> None:
    """The gradients are constants to autograd: a derivative of them would be silently wrong.

    Raises:
        RuntimeError: the backward pass was asked to be differentiable itself (``create_graph=True``).
    """
    if torch.is_grad_enabled():
        raise RuntimeError("The tiled objectives have first derivatives only: call backward without create_graph=True.")


@fused
def _contrast_(logits: Tensor, own: Tensor, power: float) -> tuple[Tensor, Tensor]:
    """Overwrites logits ``(R, N)`` by the derivatives of the loss with respect to them; losses and those of ``own``."""
    largest = torch.maximum(logits.amax(dim=1), own)
    logits.sub_(largest[:, None]).exp_()
    others = logits.sum(dim=1)
    losses, slope, total = contrast(others, own - largest, power)
    logits.mul_((slope / total)[:, None])
    return losses, -slope * others / total


@fused
def _match_(logits: Tensor, own: Tensor, wanted: Tensor, wanted_own: Tensor) -> tuple[Tensor, Tensor]:
    """Likewise for the cross-entropy with ``softmax(wanted (R, N))``, which is overwritten too."""
    wanted_largest = torch.maximum(wanted.amax(dim=1), wanted_own)
    wanted.sub_(wanted_largest[:, None]).exp_()
    wanted_own_part = torch.exp(wanted_own - wanted_largest)
    wanted_total = wanted.sum(dim=1) + wanted_own_part
    expected = (row_dots(wanted, logits) + wanted_own_part * own) / wanted_total

    largest = torch.maximum(logits.amax(dim=1), own)
    logits.sub_(largest[:, None]).exp_()
    own_part = torch.exp(own - largest)
    total = logits.sum(dim=1) + own_part
    some = (largest > EXCLUDED / 2).to(logits.dtype)  # an anchor without any candidate adds nothing
    losses = torch.where(some > 0, largest + torch.log(total) - expected, torch.zeros_like(total))
    logits.mul_((some / total)[:, None]).addcmul_(wanted, (some / wanted_total)[:, None], value=-1)
    return losses, some * (own_part / total - wanted_own_part / wanted_total)


@fused
def _sigmoid_(logits: Tensor, own: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Likewise for the sum of the cells' logistic losses, the own one being a pair and all others none."""
    logits.add_(bias)
    losses = F.softplus(logits).sum(dim=1) + F.softplus(-own - bias)
    logits.sigmoid_()
    return losses, -torch.sigmoid(-own - bias)


class RowBlocks(torch.autograd.Function):
    """Sum over the rows of the (softened) cross-entropy; see :mod:`~crossdistill.objectives.core.similarity_loss`."""

    @staticmethod
    def forward(
        ctx: Any,
        anchors: Tensor | None,
        columns: Tensor,
        scale: Tensor,
        bias: Tensor | None,
        part: slice,
        own_first: int | None,
        target: Target | None,
        same: SameItem,
        power: float,
        memory: int,
    ) -> Tensor:
        """Anchors ``(B, d)``, of which ``part`` are this rank's rows, columns ``(N, d)``, scale scalar to a scalar.

        Without anchors these are the columns themselves. The own column of the i-th row is ``own_first + i``. With a
        bias the cells are classified one by one instead of by a softmax.
        """
        need_rows, need_columns, need_scale, need_bias = ctx.needs_input_grad[:4]
        need_rows = need_columns if anchors is None else need_rows
        rows = (columns if anchors is None else anchors)[part]
        own = None if own_first is None else slice(own_first, own_first + len(rows))
        block = block_rows(memory, len(columns), 1 if target is None else 2, rows.element_size())
        block = max(1, min(block, len(rows)))
        buffer = rows.new_empty(block, len(columns))
        wanted_buffer = None if target is None else torch.empty_like(buffer)
        own_logits = own_logit(rows, None if own is None else columns[own], scale)
        losses = torch.empty_like(own_logits)
        column_gradient = torch.zeros_like(columns) if need_columns else None
        anchor_gradient = torch.zeros_like(anchors) if anchors is not None and need_rows else None
        row_gradient = column_gradient if anchors is None else anchor_gradient
        # d loss / d scale needs no pass of its own: the logits are linear in the rows and in the scale alike.
        scale_gradient = torch.zeros_like(scale) if need_scale else None
        bias_gradient = torch.zeros_like(scale) if need_bias else None

        for number, cells in enumerate(same.blocks_of_rows(block)):
            chosen = slice(number * block, (number + 1) * block)
            logits = torch.mm(rows[chosen] * scale, columns.T, out=buffer[: len(rows[chosen])])
            cells.exclude_(logits)
            if bias is not None:
                losses[chosen], own_weight = _sigmoid_(logits, own_logits[chosen], bias)
                if bias_gradient is not None:
                    bias_gradient += logits.sum() + own_weight.sum()
            elif target is None or target.columns is None or wanted_buffer is None:
                losses[chosen], own_weight = _contrast_(logits, own_logits[chosen], power)
            else:
                wanted_rows = target.anchors[chosen] * target.scale
                wanted = torch.mm(wanted_rows, target.columns.T, out=wanted_buffer[: len(logits)])
                cells.exclude_(wanted)
                wanted_columns = None if own is None else target.columns[own][chosen]
                wanted_own = own_logit(wanted_rows, wanted_columns, torch.ones_like(scale))
                losses[chosen], own_weight = _match_(logits, own_logits[chosen], wanted, wanted_own)
            own_columns = None if own is None else columns[own][chosen]
            if row_gradient is not None or scale_gradient is not None:
                of_rows = logits @ columns
                if own_columns is not None:
                    of_rows.addcmul_(own_columns, own_weight[:, None])
                if scale_gradient is not None:
                    scale_gradient += (of_rows * rows[chosen]).sum()
                if row_gradient is not None:
                    row_gradient[part][chosen] += of_rows
            if column_gradient is not None:
                column_gradient.addmm_(logits.T, rows[chosen])
                if own is not None:
                    column_gradient[own][chosen].addcmul_(rows[chosen], own_weight[:, None])

        ctx.save_for_backward(
            None if anchor_gradient is None else anchor_gradient.mul_(scale),
            None if column_gradient is None else column_gradient.mul_(scale),
            scale_gradient,
            bias_gradient,
        )
        return losses.sum()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of the forward pass times that of the sum."""
        refuse_second_derivatives()
        return (
            *(None if each is None else each * gradient for each in ctx.saved_tensors),
            None,
            None,
            None,
            None,
            None,
            None,
        )
