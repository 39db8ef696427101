"""Barlow Twins across modalities: the cross-correlation of student and teacher should be the identity."""

from __future__ import annotations

from torch import Tensor

from crossdistill.objectives.core import Batch, Objective
from crossdistill.objectives.core.moments import scaled
from crossdistill.objectives.core.rows import check_weight

_EPSILON = 1e-5  # of the batch normalisation in the published code


class BarlowTwins(Objective):
    """``sum_c (1 - C_cc)^2 + redundancy sum_{c != e} C_ce^2`` with C the cross-correlation ``(d, d)`` over the batch.

    Source: Barlow Twins, arXiv 2103.03230, equations 1 and 2.

    Args:
        redundancy: lambda, as published.
    """

    search = (("redundancy", (0.005, 0.002, 0.02)),)

    def __init__(self, redundancy: float = 5e-3) -> None:
        super().__init__()
        self.redundancy = check_weight(redundancy, what="weight of redundancy", name="barlow_twins")

    def loss(self, batch: Batch) -> Tensor:
        """See the class."""
        student, teacher = _standardised(scaled(batch.unit_student)), _standardised(scaled(batch.unit_teacher))
        correlation = student.T @ teacher / len(batch)
        diagonal = correlation.diagonal()
        off_diagonal = correlation.square().sum() - diagonal.square().sum()
        return (1 - diagonal).square().sum() + self.redundancy * off_diagonal


def _standardised(rows: Tensor) -> Tensor:
    centred = rows - rows.mean(dim=0)
    return centred * (centred.square().mean(dim=0) + _EPSILON).rsqrt()


OBJECTIVE = BarlowTwins
