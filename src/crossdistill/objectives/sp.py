"""SP, similarity-preserving distillation: the matrices of similarities within the batch should be alike."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from crossdistill.objectives.core import Batch, Objective
from crossdistill.objectives.core.blocks import sum_over_blocks
from crossdistill.objectives.core.row_blocks import block_rows
from crossdistill.objectives.core.rows import check_positive, check_weight
from crossdistill.objectives.core.similarity_loss import MEMORY_MB

_SHORTEST = 1e-6


class SP(Objective):
    """``weight / B^2 ||G_S - G_T||_F^2``, with G the cosines of all rows, each row of G divided by its length.

    Source: Tung and Mori, arXiv 1907.09682, equations 2 to 4, with its gamma. Like CMD it gives no common space.

    Args:
        weight: gamma.
        memory_mb: budget for the tiles, in MiB.
    """

    search = (("weight", (3000.0, 1000.0, 9000.0)),)

    def __init__(self, weight: float = 3000.0, memory_mb: float = MEMORY_MB) -> None:
        super().__init__()
        self.weight = check_weight(weight, what="weight", name="sp")
        self.memory_mb = check_positive(memory_mb, what="memory budget", name="sp")

    def loss(self, batch: Batch) -> Tensor:
        """See the class."""
        student, teacher = batch.unit_student, batch.unit_teacher

        def of_rows(part: slice) -> Tensor:
            ours = F.normalize(student[part] @ student.T, dim=1, eps=_SHORTEST)
            theirs = F.normalize(teacher[part] @ teacher.T, dim=1, eps=_SHORTEST)
            return (ours - theirs).square().sum()

        block = block_rows(int(self.memory_mb * 2**20), len(batch), 6, student.element_size())
        total = batch.total(sum_over_blocks(of_rows, batch.mine, block))
        return self.weight * total / len(batch) ** 2


OBJECTIVE = SP
