"""SigLIP: each cell (student i, teacher j) on its own is told to be a pair or not, by a sigmoid."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from crossdistill.errors import ConfigError
from crossdistill.objectives.core import Batch, Objective, Temperature, similarity_loss
from crossdistill.objectives.core.rows import check_positive
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

    search = (("temperature", (0.1, 0.05, 0.2)),)

    def __init__(
        self, temperature: float = 0.1, bias: float = -10.0, learnable: bool = True, memory_mb: float = MEMORY_MB
    ) -> None:
        super().__init__()
        self.temperature = Temperature(temperature, learnable=learnable, name="siglip")
        self.bias = nn.Parameter(torch.tensor(float(bias)), requires_grad=learnable)
        self.memory_mb = check_positive(memory_mb, what="memory budget", name="siglip")
        if not math.isfinite(bias):
            raise ConfigError("The bias must be finite.", where="objective siglip", received=bias)

    def loss(self, batch: Batch) -> Tensor:
        """See the class."""
        scale, bias = self.temperature(batch.student), self.bias.to(batch.student)
        student, teacher, memory_mb = batch.unit_student, batch.unit_teacher, self.memory_mb
        return similarity_loss(batch, student, teacher, scale, own=True, bias=bias, memory_mb=memory_mb)


OBJECTIVE = SigLIP
