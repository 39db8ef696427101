"""L2 feature regression, the classical way to transfer supervision across modalities."""

from __future__ import annotations

from torch import Tensor

from crossdistill.objectives.core import Batch, Objective


class L2(Objective):
    """``1/B sum_i ||s_i - t_i||^2``, between unit vectors by default.

    Source: Gupta et al., arXiv 1507.00448.

    Args:
        normalise: compare directions alone; otherwise the embeddings as they are.
    """

    def __init__(self, normalise: bool = True) -> None:
        super().__init__()
        self.normalise = normalise

    def loss(self, batch: Batch) -> Tensor:
        """See the class."""
        if self.normalise:
            return (batch.unit_student - batch.unit_teacher).square().sum(dim=1).mean()
        return (batch.student - batch.teacher).square().sum(dim=1).mean()


OBJECTIVE = L2
