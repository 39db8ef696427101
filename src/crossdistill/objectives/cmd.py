"""CMD, cross-modality distillation loss: cross-entropy between two similarity distributions."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from crossdistill.errors import ConfigError
from crossdistill.objectives.core import Against, Batch, Objective, Temperature, similarity_loss
from crossdistill.objectives.core.row_blocks import Target
from crossdistill.objectives.core.rows import check_choice, check_positive
from crossdistill.objectives.core.similarity_loss import MEMORY_MB

Form = Literal["within", "to_teacher"]


class CMD(Objective):
    """``-1/B sum_i sum_{j != i} p_T(j|i) log p_S(j|i)``, with distributions over the other items j.

    - ``within`` (the paper's form): ``p_S(j|i) = softmax_j <s_i, s_j>/tau``, ``p_T(j|i) = softmax_j <t_i, t_j>/tau``.
      It compares relations inside each modality, so it gives no common space on its own;
      :class:`~crossdistill.objectives.cmcd.CMCD` adds one.
    - ``to_teacher``: ``p_S(j|i) = softmax_j <s_i, t_j>/tau``, as in SEED (arXiv 2101.04731). The columns are the frozen
      teacher's alone, so that they can be the whole pair set.

    Source: CMD of arXiv 2405.03355.

    Args:
        temperature: tau of the student's distribution.
        teacher_temperature: tau of the teacher's; the same by default.
        form: see above.
        against: "bank" takes the whole pair set as columns j, exactly; for ``to_teacher`` only.
        memory_mb: budget for the tiles, in MiB.
    """

    two_towers = False
    search = (("temperature", (0.1, 0.05, 0.2)),)

    def __init__(
        self,
        temperature: float = 0.1,
        teacher_temperature: float | None = None,
        form: Form = "within",
        against: Against = "batch",
        memory_mb: float = MEMORY_MB,
    ) -> None:
        super().__init__()
        check_choice(against, Against, what="against", name="cmd")
        check_choice(form, Form, what="form", name="cmd")
        self.temperature = Temperature(temperature, name="cmd")
        self.teacher_temperature = Temperature(
            temperature if teacher_temperature is None else teacher_temperature, name="cmd"
        )
        if against == "bank" and form == "within":
            raise ConfigError(
                "CMD within the modalities cannot be taken against the bank.",
                where="objective cmd",
                expected="form: to_teacher with against: bank (student embeddings of the whole set would be stale)",
                received="form: within, against: bank",
            )
        self.form = form
        self.against = against
        self.memory_mb = check_positive(memory_mb, what="memory budget", name="cmd")

    def loss(self, batch: Batch) -> Tensor:
        """See the class. An anchor without any candidate adds nothing."""
        student, teacher = batch.unit_student, batch.unit_teacher
        scale, teacher_scale = self.temperature(batch.student), self.teacher_temperature(batch.student)
        memory_mb = self.memory_mb
        if self.against == "bank":
            target = Target(teacher, None, teacher_scale)
            return similarity_loss(batch, student, self.bank, scale, own=False, target=target, memory_mb=memory_mb)
        target = Target(teacher, teacher, teacher_scale)
        columns = student if self.form == "within" else teacher
        return similarity_loss(batch, student, columns, scale, own=False, target=target, memory_mb=memory_mb)


OBJECTIVE = CMD
