"""LiT, locked-image tuning: CLIP's loss with one tower locked, which here is the teacher."""

from __future__ import annotations

from torch import Tensor

from crossdistill.objectives.core import Batch, Objective, Temperature, similarity_loss
from crossdistill.objectives.core.rows import check_positive
from crossdistill.objectives.core.similarity_loss import MEMORY_MB


class LiT(Objective):
    """Symmetric InfoNCE with a learnt temperature against a locked tower: a control for what CMC's own settings add.

    ``-1/2B sum_i [log softmax_j(<s_i, t_j>/tau)_i + log softmax_j(<s_j, t_i>/tau)_i]``, where only the student and tau
    are trained. Nothing goes back into the teacher, whatever it is given as.

    Source: LiT, arXiv 2111.07991, section 3 (the setting "Lu": locked images, untrained other tower); the loss and the
    bound of 100 on 1/tau as in CLIP, arXiv 2103.00020.

    Args:
        temperature: where tau starts.
        memory_mb: budget for the tiles, in MiB.
    """

    two_towers = False
    search = (("temperature", (0.1, 0.05, 0.2)),)

    def __init__(self, temperature: float = 0.1, memory_mb: float = MEMORY_MB) -> None:
        super().__init__()
        self.temperature = Temperature(temperature, learnable=True, name="lit")
        self.memory_mb = check_positive(memory_mb, what="memory budget", name="lit")

    def loss(self, batch: Batch) -> Tensor:
        """See the class."""
        scale = self.temperature(batch.student)
        student, teacher, memory_mb = batch.unit_student, batch.unit_teacher, self.memory_mb
        forth = similarity_loss(batch, student, teacher, scale, own=True, memory_mb=memory_mb)
        return (forth + similarity_loss(batch, teacher, student, scale, own=True, memory_mb=memory_mb)) / 2


OBJECTIVE = LiT
