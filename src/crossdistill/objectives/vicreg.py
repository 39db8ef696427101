"""VICReg across modalities: paired embeddings alike, each coordinate alive, coordinates uncorrelated."""

from __future__ import annotations

from torch import Tensor

from crossdistill.objectives.core import Batch, Objective
from crossdistill.objectives.core.moments import covariance, scaled, variance
from crossdistill.objectives.core.rows import check_weight

_EPSILON = 1e-4  # as published


class VICReg(Objective):
    """``invariance * mse(s, t) + variance * hinge + covariance * off-diagonal``, of unit rows times sqrt(d).

    The hinge ``mean_c max(0, 1 - sqrt(var_c + 1e-4))`` and the squared covariances off the diagonal, over d, are taken
    of student and teacher as published.

    Source: VICReg, arXiv 2105.04906, equations 1 to 6, with its weights and its code's halves in the hinge.

    Args:
        invariance: weight of the pairs.
        variance: weight of the hinge.
        covariance: weight of the correlations.
    """

    search = (("invariance", (25.0, 10.0, 50.0)),)

    def __init__(self, invariance: float = 25.0, variance: float = 25.0, covariance: float = 1.0) -> None:
        super().__init__()
        self.invariance = check_weight(invariance, what="weight of invariance", name="vicreg")
        self.variance = check_weight(variance, what="weight of variance", name="vicreg")
        self.covariance = check_weight(covariance, what="weight of covariance", name="vicreg")

    def loss(self, batch: Batch) -> Tensor:
        """See the class."""
        student, teacher = scaled(batch.unit_student), scaled(batch.unit_teacher)
        hinge = (_hinge(student) + _hinge(teacher)) / 2
        correlation = _off_diagonal(student) + _off_diagonal(teacher)
        invariance = (student - teacher).square().mean()
        return self.invariance * invariance + self.variance * hinge + self.covariance * correlation


def _hinge(rows: Tensor) -> Tensor:
    return (1 - (variance(rows) + _EPSILON).sqrt()).relu().mean()


def _off_diagonal(rows: Tensor) -> Tensor:
    matrix = covariance(rows)
    return (matrix.square().sum() - matrix.diagonal().square().sum()) / rows.shape[1]


OBJECTIVE = VICReg
