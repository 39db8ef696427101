"""Cosine distance between paired embeddings."""

from __future__ import annotations

from torch import Tensor, nn

from crossdistill.objectives.similarity import check_shapes, unit_rows


class Cosine(nn.Module):
    """``1 - 1/B sum_i <s_i, t_i>`` between unit vectors: half of :class:`~crossdistill.objectives.l2.L2`."""

    def forward(self, student: Tensor, teacher: Tensor, ids: Tensor | None = None) -> Tensor:
        """Student ``(B, d)``, teacher ``(B, d)`` to a scalar; ``ids`` are not needed."""
        check_shapes(student, teacher, ids, name="cosine")
        return 1 - (unit_rows(student) * unit_rows(teacher)).sum(dim=1).mean()


OBJECTIVE = Cosine
