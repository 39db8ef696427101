"""CMCD, the method's objective: the weighted sum of CMC and CMD."""

from __future__ import annotations

from torch import Tensor, nn

from crossdistill.objectives.cmc import CMC
from crossdistill.objectives.cmd import CMD


class CMCD(nn.Module):
    """``CMC + cmd_weight * CMD`` (arXiv 2405.03355).

    Args:
        temperature: of both parts.
        cmd_weight: lambda.
        symmetric: of the CMC part.
        teacher_temperature: of the teacher's distribution in the CMD part; ``temperature`` by default.
    """

    def __init__(
        self,
        temperature: float = 0.1,
        cmd_weight: float = 0.3,
        symmetric: bool = True,
        teacher_temperature: float | None = None,
    ) -> None:
        super().__init__()
        self.cmc = CMC(temperature, symmetric)
        self.cmd = CMD(temperature, teacher_temperature)
        self.cmd_weight = cmd_weight

    def forward(self, student: Tensor, teacher: Tensor, ids: Tensor | None = None) -> Tensor:
        """Student ``(B, d)``, teacher ``(B, d)``, optional source ids ``(B,)`` to a scalar; see CMC and CMD."""
        loss: Tensor = self.cmc(student, teacher, ids) + self.cmd_weight * self.cmd(student, teacher, ids)
        return loss


OBJECTIVE = CMCD
