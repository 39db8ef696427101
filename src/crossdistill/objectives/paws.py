"""PAWS against a teacher's bank: two views of an item without a partner should have the same, sharp, neighbours."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from crossdistill.objectives.core import Batch, Objective, TeacherColumns, Temperature
from crossdistill.objectives.core.column_tiles import ColumnTiles, tile_columns
from crossdistill.objectives.core.row_blocks import Target, refuse_second_derivatives
from crossdistill.objectives.core.rows import check_positive, check_weight
from crossdistill.objectives.core.same_item import EXCLUDED
from crossdistill.objectives.core.similarity_loss import MEMORY_MB


class PAWS(Objective):
    """``1/2B sum_i [H(q(v'_i), p(v_i)) + H(q(v_i), p(v'_i))] - spread * H(mean of all q)`` over two views v, v'.

    ``p(v)_j = softmax_j <v, t_j>/tau`` is a view's similarity distribution over the teacher's embeddings t_j of
    *source* items, which need not be partners of anything, and ``q = p^(1/T) / sum p^(1/T)`` the same, sharpened. A
    view's target is the other view's q, without a gradient; the last term, which has one, keeps a batch from falling
    upon few sources.

    Source: PAWS, arXiv 2104.13963, equations 1 to 3, with every source item as a class of its own for labelled support:
    what is preserved is which sources an item is near, as in SEED (arXiv 2101.04731) without a teacher that knows.

    Args:
        temperature: tau, as published.
        sharpen: T, as published; 1 leaves distributions as they are.
        spread: weight of the last term, as published; 0 leaves it out.
        memory_mb: budget for the tiles, in MiB.
    """

    def __init__(
        self, temperature: float = 0.1, sharpen: float = 0.25, spread: float = 1.0, memory_mb: float = MEMORY_MB
    ) -> None:
        super().__init__()
        self.temperature = Temperature(temperature, name="paws")
        self.sharpen = check_positive(sharpen, what="sharpening", name="paws")
        self.spread = check_weight(spread, what="weight of the spread", name="paws")
        self.memory_mb = check_positive(memory_mb, what="memory budget", name="paws")

    def prepare(self, bank: TeacherColumns) -> None:
        """What similarities are taken to: all columns have to be on every rank."""
        if bank.sharded:
            raise ValueError("PAWS takes a bank that is whole on every rank")
        super().prepare(bank)

    def loss(self, batch: Batch) -> Tensor:
        """First views stand for the student, second ones for the teacher; both are trained."""
        first, second, bank = batch.unit_student, batch.unit_teacher, self.bank
        scale = self.temperature(first)
        sharp, memory = scale / self.sharpen, int(self.memory_mb * 2**20)
        mine = batch.mine
        nobody = bank.ids.min() - 1  # no column is excluded: none shows the item
        same = bank.same_item(torch.full((mine.stop - mine.start,), int(nobody), device=first.device))
        total = first.new_zeros(())
        for view, other in ((first, second), (second, first)):
            target = Target(other.detach()[mine], None, sharp)
            total = total + ColumnTiles.apply(view[mine], bank, scale, None, target, same, 0.0, memory)
        loss: Tensor = batch.total(total) / (2 * len(batch))
        if self.spread:
            loss = loss - self.spread * _MeanEntropy.apply(torch.cat([first, second]), bank, sharp, memory)
        return loss


class _MeanEntropy(torch.autograd.Function):
    """Entropy of the mean over rows of ``softmax(scale * rows @ columns.T)``, tile by tile.

    One pass over the columns finds the rows' log-sum-exps; in the second each tile's part of the mean m is whole, so
    that with ``g_j = -(1 + log m_j)`` the gradient of row i, ``scale/M sum_j p_ij (g_j - sum_k p_ik g_k) c_j``, is
    carried along. Memory is O(rows x (tile + width)).
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, columns: TeacherColumns, scale: Tensor, memory: int) -> Tensor:
        """Unit rows ``(M, d)``, frozen columns, scale scalar to a scalar."""
        scaled = rows * scale
        size = min(tile_columns(memory, rows), len(columns))
        buffer = rows.new_empty(len(rows) * size)

        def logits_of(tile: Tensor) -> Tensor:
            return torch.mm(scaled, tile.T, out=buffer[: len(rows) * len(tile)].view(len(rows), len(tile)))

        log_total = rows.new_full((len(rows),), EXCLUDED)
        for tile in columns.tiles(size, like=rows):
            log_total = torch.logaddexp(log_total, logits_of(tile).logsumexp(dim=1))
        entropy, level = rows.new_zeros(()), rows.new_zeros(len(rows))
        pulled, mean = torch.zeros_like(rows), torch.zeros_like(rows)
        for tile in columns.tiles(size, like=rows):
            weights = logits_of(tile).sub_(log_total[:, None]).exp_()
            share = weights.mean(dim=0)
            logs = share.clamp(min=torch.finfo(share.dtype).tiny).log()
            entropy -= (share * logs).sum()
            if ctx.needs_input_grad[0]:
                slope = -(1 + logs)
                mean.addmm_(weights, tile)
                level += weights @ slope
                pulled.addmm_(weights.mul_(slope), tile)
        gradient = pulled.addcmul_(mean, level[:, None], value=-1).mul_(scale / len(rows))
        ctx.save_for_backward(gradient)
        return entropy

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        """The gradient of the forward pass times that of the entropy."""
        refuse_second_derivatives()
        return ctx.saved_tensors[0] * gradient, None, None, None


OBJECTIVE = PAWS
