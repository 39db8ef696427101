"""MMD: the maximum mean discrepancy between the two sets of embeddings. It does not look at the pairing."""

from __future__ import annotations

import torch
from torch import Tensor

from crossdistill.objectives.core import Batch, Objective
from crossdistill.objectives.core.blocks import sum_over_blocks
from crossdistill.objectives.core.row_blocks import block_rows
from crossdistill.objectives.core.rows import check_positive
from crossdistill.objectives.core.similarity_loss import MEMORY_MB

_FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0)


class MMD(Objective):
    """``mean k(s, s') + mean k(t, t') - 2 mean k(s, t)`` between unit rows, with Gaussian kernels.

    ``k(x, y) = exp(-||x - y||^2 / (2 sigma^2))``, averaged over five bandwidths as in DAN (arXiv 1502.02791):
    ``2 sigma^2`` = 1/4 to 4 times the mean squared distance among the teacher's rows, which no step changes.

    Source: Gretton et al., JMLR 13, 2012, equation 5 (the biased statistic, which is never negative).

    Args:
        sigma: one fixed bandwidth instead.
        memory_mb: budget for the tiles, in MiB.
    """

    def __init__(self, sigma: float | None = None, memory_mb: float = MEMORY_MB) -> None:
        super().__init__()
        self.sigma = None if sigma is None else check_positive(sigma, what="bandwidth", name="mmd")
        self.memory_mb = check_positive(memory_mb, what="memory budget", name="mmd")

    def loss(self, batch: Batch) -> Tensor:
        """See the class."""
        pooled = torch.cat([batch.unit_student, batch.unit_teacher])
        # The statistic is one quadratic form: + between rows of one set, - between rows of different sets.
        sign = torch.cat([torch.ones_like(pooled[: len(batch), 0]), -torch.ones_like(pooled[: len(batch), 0])])
        length = pooled.square().sum(dim=1)
        if self.sigma is None:
            teacher = batch.unit_teacher.detach()
            spread = 2 * (teacher.square().sum(dim=1).mean() - teacher.mean(dim=0).square().sum()).clamp(min=1e-6)
            widths = [factor * spread for factor in _FACTORS]
        else:
            widths = [pooled.new_tensor(2 * self.sigma**2)]

        def of_rows(part: slice) -> Tensor:
            squared = (length[part, None] + length - 2 * pooled[part] @ pooled.T).clamp(min=0.0)
            kernel = sum((torch.exp(-squared / width) for width in widths), start=torch.zeros_like(squared))
            return sign[part] @ (kernel @ sign) / len(widths)

        block = block_rows(int(self.memory_mb * 2**20), len(pooled), 2 * len(widths) + 3, pooled.element_size())
        students, count = batch.mine, len(batch)  # this rank's rows of both sets
        teachers = slice(students.start + count, students.stop + count)
        total = sum_over_blocks(of_rows, students, block) + sum_over_blocks(of_rows, teachers, block)
        return batch.total(total) / count**2


OBJECTIVE = MMD
