"""SigLIP: each cell (student i, teacher j) on its own is told to be a pair or not, by a sigmoid."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from crossdistill.objectives.core import Batch, Objective, Temperature
from crossdistill.objectives.core.blocks import sum_over_blocks
from crossdistill.objectives.core.row_blocks import block_rows
from crossdistill.objectives.core.similarity_loss import MEMORY_MB


class SigLIP(Objective):
    """``-1/B sum_i sum_j log sigmoid(z_ij (<s_i, t_j>/tau + b))`` with ``z_ij = 1`` for i = j and -1 otherwise.

    Source: SigLIP, arXiv 2303.15343, algorithm 1. Cells of different pairs that show one source item are left out.

    Args:
        temperature: where tau starts.
        bias: where b starts.
        learnable: whether tau and b are trained, as published.
        memory_mb: budget for the tiles, in MiB.
    """

    def __init__(
        self, temperature: float = 0.1, bias: float = -10.0, learnable: bool = True, memory_mb: float = MEMORY_MB
    ) -> None:
        super().__init__()
        self.temperature = Temperature(temperature, learnable=learnable, name="siglip")
        self.bias = nn.Parameter(torch.tensor(float(bias)), requires_grad=learnable)
        self.memory_mb = memory_mb

    def loss(self, batch: Batch) -> Tensor:
        """See the class."""
        student, teacher, ids = batch.unit_student, batch.unit_teacher, batch.ids
        scale, bias = self.temperature(student), self.bias.to(student)

        def of_rows(part: slice) -> Tensor:
            logits = (student[part] * scale) @ teacher.T + bias
            others = ids[part, None] != ids[None]
            own = (student[part] * teacher[part]).sum(dim=1) * scale + bias
            return -F.logsigmoid(own).sum() - (F.logsigmoid(-logits) * others).sum()

        block = block_rows(int(self.memory_mb * 2**20), len(batch), 5, student.element_size())
        return batch.total(sum_over_blocks(of_rows, batch.mine, block)) / max(1, len(batch))


OBJECTIVE = SigLIP
