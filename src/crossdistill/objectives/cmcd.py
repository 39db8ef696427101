"""CMCD, the method's objective: the weighted sum of CMC and CMD."""

from __future__ import annotations

from torch import Tensor

from crossdistill.objectives.cmc import CMC
from crossdistill.objectives.cmd import CMD, Form
from crossdistill.objectives.core import Against, Batch, Objective, TeacherColumns
from crossdistill.objectives.core.rows import check_weight
from crossdistill.objectives.core.similarity_loss import MEMORY_MB


class CMCD(Objective):
    """``CMC + cmd_weight * CMD`` (arXiv 2405.03355).

    Args:
        temperature: of both parts.
        cmd_weight: lambda.
        symmetric: of the CMC part.
        teacher_temperature: of the teacher's distribution in the CMD part; ``temperature`` by default.
        learnable_temperature: of the CMC part.
        cmd_form: of the CMD part.
        against: "bank" takes the columns of CMC, and of CMD in the form ``to_teacher``, from the whole pair set; CMD
            ``within`` the modalities stays in the batch.
        memory_mb: budget for the tiles of one part, in MiB.
    """

    two_towers = False
    search = (
        ("temperature", (0.05, 0.1, 0.2)),
        ("cmd_weight", (0.1, 0.3, 1.0)),
    )

    def __init__(
        self,
        temperature: float = 0.05,
        cmd_weight: float = 0.1,
        symmetric: bool = True,
        teacher_temperature: float | None = None,
        learnable_temperature: bool = False,
        cmd_form: Form = "within",
        against: Against = "batch",
        memory_mb: float = MEMORY_MB,
    ) -> None:
        super().__init__()
        self.cmc = CMC(temperature, symmetric, learnable_temperature, against, memory_mb)
        cmd_against = against if cmd_form == "to_teacher" else "batch"
        self.cmd = CMD(temperature, teacher_temperature, cmd_form, cmd_against, memory_mb)
        self.cmd_weight = check_weight(cmd_weight, what="weight of CMD", name="cmcd")

    def prepare(self, bank: TeacherColumns) -> None:
        """Hands the bank to both parts."""
        super().prepare(bank)
        self.cmc.prepare(bank)
        self.cmd.prepare(bank)

    def loss(self, batch: Batch) -> Tensor:
        """See the class."""
        return self.cmc.loss(batch) + self.cmd_weight * self.cmd.loss(batch)


OBJECTIVE = CMCD
