"""CMC, cross-modality contrastive loss: InfoNCE between the student's and the frozen teacher's embeddings."""

from __future__ import annotations

from torch import Tensor

from crossdistill.objectives.core import Against, Batch, Objective, Temperature, similarity_loss
from crossdistill.objectives.core.rows import check_choice, check_positive
from crossdistill.objectives.core.similarity_loss import MEMORY_MB


class CMC(Objective):
    """``-1/B sum_i log exp(<s_i, t_i>/tau) / sum_j exp(<s_i, t_j>/tau)``, averaged with its transpose if symmetric.

    Source: CMC of arXiv 2405.03355; the symmetric form and the learnable temperature as in CLIP, arXiv 2103.00020.

    Args:
        temperature: tau.
        symmetric: also classify, for each teacher embedding, which student embedding is its pair.
        learnable_temperature: start from ``temperature`` and train it.
        against: with "bank" the columns j of the first form are the teacher's embeddings of the whole pair set,
            exactly, whatever the batch size; call ``prepare`` first. The transpose stays in the batch, as student
            embeddings go stale with every step.
        memory_mb: budget for the tiles, in MiB.
    """

    search = (("temperature", (0.1, 0.05, 0.2)),)

    def __init__(
        self,
        temperature: float = 0.1,
        symmetric: bool = True,
        learnable_temperature: bool = False,
        against: Against = "batch",
        memory_mb: float = MEMORY_MB,
    ) -> None:
        super().__init__()
        check_choice(against, Against, what="against", name="cmc")
        self.temperature = Temperature(temperature, learnable=learnable_temperature, name="cmc")
        self.symmetric = symmetric
        self.against = against
        self.memory_mb = check_positive(memory_mb, what="memory budget", name="cmc")
        self.power = 0.0

    def loss(self, batch: Batch) -> Tensor:
        """See the class."""
        scale = self.temperature(batch.student)
        student, teacher = batch.unit_student, batch.unit_teacher
        columns = teacher if self.against == "batch" else self.bank
        power, memory_mb = self.power, self.memory_mb
        loss = similarity_loss(batch, student, columns, scale, own=True, power=power, memory_mb=memory_mb)
        if self.symmetric:
            back = similarity_loss(batch, teacher, student, scale, own=True, power=power, memory_mb=memory_mb)
            loss = (loss + back) / 2
        return loss


OBJECTIVE = CMC
