"""L2 feature regression, the classical way to transfer supervision across modalities."""

from __future__ import annotations

from torch import Tensor, nn

from crossdistill.objectives.similarity import check_shapes, unit_rows


class L2(nn.Module):
    """``1/B sum_i ||s_i - t_i||^2``, between unit vectors by default.

    Source: Gupta et al., arXiv 1507.00448.

    Args:
        normalise: compare directions alone; otherwise the embeddings as they are.
    """

    def __init__(self, normalise: bool = True) -> None:
        super().__init__()
        self.normalise = normalise

    def forward(self, student: Tensor, teacher: Tensor, ids: Tensor | None = None) -> Tensor:
        """Student ``(B, d)``, teacher ``(B, d)`` to a scalar; ``ids`` are not needed."""
        check_shapes(student, teacher, ids, name="l2")
        s, t = (unit_rows(student), unit_rows(teacher)) if self.normalise else (student.float(), teacher.float())
        return (s - t).square().sum(dim=1).mean()


OBJECTIVE = L2
