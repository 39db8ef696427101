"""SEED: the student's similarities to the teacher's embeddings should be distributed as the teacher's own are."""

from __future__ import annotations

from torch import Tensor

from crossdistill.objectives.core import Against, Batch, Objective, Temperature, similarity_loss
from crossdistill.objectives.core.row_blocks import Target
from crossdistill.objectives.core.rows import check_choice, check_positive
from crossdistill.objectives.core.similarity_loss import MEMORY_MB


class SEED(Objective):
    """``-1/B sum_i sum_j p_T(j|i) log p_S(j|i)`` with ``p_S(j|i) = softmax_j <s_i, t_j>/tau_S``, j = i included.

    Source: SEED, arXiv 2101.04731, equations 2 to 5. Its queue of earlier teacher embeddings is the batch here, or with
    ``against="bank"`` the whole pair set: the teacher is frozen, so nothing in it is ever stale.

    Args:
        temperature: tau_S, as published.
        teacher_temperature: tau_T, as published.
        against: what j runs over.
        memory_mb: budget for the tiles, in MiB.
    """

    two_towers = False
    search = (
        ("temperature", (0.2, 0.1, 0.4)),
        ("teacher_temperature", (0.01, 0.05)),
    )

    def __init__(
        self,
        temperature: float = 0.2,
        teacher_temperature: float = 0.01,
        against: Against = "batch",
        memory_mb: float = MEMORY_MB,
    ) -> None:
        super().__init__()
        check_choice(against, Against, what="against", name="seed")
        self.temperature = Temperature(temperature, name="seed")
        self.teacher_temperature = Temperature(teacher_temperature, name="seed")
        self.against = against
        self.memory_mb = check_positive(memory_mb, what="memory budget", name="seed")

    def loss(self, batch: Batch) -> Tensor:
        """See the class."""
        student, teacher = batch.unit_student, batch.unit_teacher
        scale, teacher_scale = self.temperature(batch.student), self.teacher_temperature(batch.student)
        columns = teacher if self.against == "batch" else self.bank
        target = Target(teacher, teacher if self.against == "batch" else None, teacher_scale)
        return similarity_loss(batch, student, columns, scale, own=True, target=target, memory_mb=self.memory_mb)


OBJECTIVE = SEED
