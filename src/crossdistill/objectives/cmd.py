"""CMD, cross-modality distillation loss: cross-entropy between two within-modality similarity distributions."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from crossdistill.objectives.similarity import check_shapes, check_temperature, log_distribution, same_item, unit_rows


class CMD(nn.Module):
    """``-1/B sum_i sum_{j != i} p_T(j|i) log p_S(j|i)`` with ``p(j|i) = softmax_j <z_i, z_j>/tau`` over ``j != i``.

    Source: CMD of arXiv 2405.03355. It compares relations inside each modality, so it gives no common space on its
    own; :class:`~crossdistill.objectives.cmcd.CMCD` adds one.

    Args:
        temperature: tau of the student's distribution.
        teacher_temperature: tau of the teacher's; the same by default.
    """

    def __init__(self, temperature: float = 0.1, teacher_temperature: float | None = None) -> None:
        super().__init__()
        self.temperature = check_temperature(temperature, name="cmd")
        self.teacher_temperature = check_temperature(
            temperature if teacher_temperature is None else teacher_temperature, name="cmd"
        )

    def forward(self, student: Tensor, teacher: Tensor, ids: Tensor | None = None) -> Tensor:
        """Student ``(B, d)``, teacher ``(B, d)``, optional source ids ``(B,)`` to a scalar.

        Rows of equal id show the same source item and are no candidates of each other. An anchor without any
        candidate adds nothing.

        Raises:
            ValueError: shapes differ.
        """
        check_shapes(student, teacher, ids, name="cmd")
        excluded = same_item(ids, len(student), student.device)
        s, t = unit_rows(student), unit_rows(teacher)
        log_p_student = log_distribution(s @ s.T / self.temperature, excluded)
        with torch.no_grad():
            p_teacher = log_distribution(t @ t.T / self.teacher_temperature, excluded).exp()
        return -(p_teacher * log_p_student.masked_fill(excluded, 0.0)).sum(dim=1).mean()


OBJECTIVE = CMD
