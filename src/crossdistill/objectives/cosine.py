"""Cosine distance between paired embeddings."""

from __future__ import annotations

from torch import Tensor

from crossdistill.objectives.core import Batch, Objective


class Cosine(Objective):
    """``1 - 1/B sum_i <s_i, t_i>`` between unit vectors: half of :class:`~crossdistill.objectives.l2.L2`."""

    def loss(self, batch: Batch) -> Tensor:
        """See the class."""
        return 1 - (batch.unit_student * batch.unit_teacher).sum(dim=1).mean()


OBJECTIVE = Cosine
