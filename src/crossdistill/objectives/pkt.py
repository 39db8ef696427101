"""PKT, probabilistic knowledge transfer: the divergence between two similarity distributions of a cosine kernel."""

from __future__ import annotations

from torch import Tensor

from crossdistill.objectives.core import Batch, Objective
from crossdistill.objectives.core.blocks import sum_over_blocks
from crossdistill.objectives.core.row_blocks import block_rows
from crossdistill.objectives.core.rows import check_positive
from crossdistill.objectives.core.similarity_loss import MEMORY_MB

_SMALLEST = 1e-6


class PKT(Objective):
    """``1/B sum_i KL(p_T(.|i) || p_S(.|i))`` with ``p(j|i)`` proportional to ``(1 + <z_i, z_j>) / 2`` for ``j != i``.

    Source: Passalis and Tefas, arXiv 1803.10837, equations 5 to 7; per anchor, where its code divides by B once more.
    Like CMD it gives no common space on its own.

    Args:
        memory_mb: budget for the tiles, in MiB.
    """

    def __init__(self, memory_mb: float = MEMORY_MB) -> None:
        super().__init__()
        self.memory_mb = check_positive(memory_mb, what="memory budget", name="pkt")

    def loss(self, batch: Batch) -> Tensor:
        """See the class. Rows of one source item are no candidates of each other."""
        ids, student, teacher = batch.ids, batch.unit_student, batch.unit_teacher

        def distribution(unit: Tensor, part: slice, others: Tensor) -> Tensor:
            kernel = ((1 + unit[part] @ unit.T) / 2).clamp(min=_SMALLEST) * others
            return kernel / kernel.sum(dim=1, keepdim=True).clamp(min=_SMALLEST)

        def of_rows(part: slice) -> Tensor:
            others = ids[part, None] != ids[None]
            ours = distribution(student, part, others)
            theirs = distribution(teacher, part, others)
            ratio = (theirs / ours.masked_fill(~others, 1.0)).masked_fill(~others, 1.0)
            return (theirs * ratio.log()).sum()

        block = block_rows(int(self.memory_mb * 2**20), len(batch), 8, batch.student.element_size())
        return batch.total(sum_over_blocks(of_rows, batch.mine, block)) / len(batch)


OBJECTIVE = PKT
