"""Feature statistics: means and variances of the embeddings should be alike. It does not look at the pairing."""

from __future__ import annotations

import math

from torch import Tensor

from crossdistill.objectives.core import Against, Batch, Objective, TeacherColumns
from crossdistill.objectives.core.moments import scaled, variance
from crossdistill.objectives.core.rows import check_choice


class FeatureStatistics(Objective):
    """``(||mean_S - mean_T||^2 + ||var_S - var_T||^2) / d`` of unit rows times sqrt(d).

    Source: the batch-norm moment matching of SOCKET, arXiv 2209.04027. There it is taken at every batch-norm layer of
    the source network; here at the embedding, since student and teacher share no layer.

    Args:
        against: the teacher's statistics are those of the batch, or with "bank" those of the whole pair set, as a
            batch-norm layer stores them.
    """

    def __init__(self, against: Against = "batch") -> None:
        super().__init__()
        check_choice(against, Against, what="against", name="feature_statistics")
        self.against = against
        self._stored: tuple[Tensor, Tensor] | None = None

    def prepare(self, bank: TeacherColumns) -> None:
        """Takes the statistics of the bank."""
        super().prepare(bank)
        self._stored = None

    def loss(self, batch: Batch) -> Tensor:
        """See the class."""
        student = scaled(batch.unit_student)
        if self.against == "bank":
            if self._stored is None:
                mean, var = self.bank.moments(like=student)
                self._stored = mean * math.sqrt(len(mean)), var * len(var)  # of rows times sqrt(d)
            mean, var = (each.to(student) for each in self._stored)
        else:
            teacher = scaled(batch.unit_teacher)
            mean, var = teacher.mean(dim=0), variance(teacher)
        return ((student.mean(dim=0) - mean).square() + (variance(student) - var).square()).mean()


OBJECTIVE = FeatureStatistics
