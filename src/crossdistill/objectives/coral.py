"""CORAL: the covariances of the two embeddings should be alike. It does not look at the pairing."""

from __future__ import annotations

from torch import Tensor

from crossdistill.objectives.core import Batch, Objective
from crossdistill.objectives.core.moments import covariance, scaled


class CORAL(Objective):
    """``||C_S - C_T||_F^2 / (4 d^2)`` between the covariances of unit rows times sqrt(d).

    Source: Deep CORAL, arXiv 1607.01719, equation 1.
    """

    def loss(self, batch: Batch) -> Tensor:
        """See the class."""
        difference = covariance(scaled(batch.unit_student)) - covariance(scaled(batch.unit_teacher))
        return difference.square().sum() / (4 * batch.student.shape[1] ** 2)


OBJECTIVE = CORAL
