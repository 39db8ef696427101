"""InfoNCE between two augmented views of the same items: the objective of stage 1."""

from __future__ import annotations

import torch
from torch import Tensor

from crossdistill.objectives.core import Batch, Objective, Temperature, similarity_loss
from crossdistill.objectives.core.rows import check_positive
from crossdistill.objectives.core.similarity_loss import MEMORY_MB


class InfoNCE(Objective):
    """NT-Xent over ``2B`` views: each view must find the other view of its item among all ``2B - 1`` others.

    Source: SimCLR, arXiv 2002.05709, equation 1.

    Args:
        temperature: tau.
        memory_mb: budget for the tiles, in MiB.
    """

    def __init__(self, temperature: float = 0.2, memory_mb: float = MEMORY_MB) -> None:
        super().__init__()
        self.temperature = Temperature(temperature, name="info_nce")
        self.memory_mb = check_positive(memory_mb, what="memory budget", name="info_nce")

    def loss(self, batch: Batch) -> Tensor:
        """First views stand for the student, second ones for the teacher; both are trained."""
        first, second = batch.unit_student, batch.unit_teacher
        views = torch.cat([first, second])
        scale = self.temperature(batch.student)
        return similarity_loss(batch, views, views, scale, own=True, memory_mb=self.memory_mb, views=2)


OBJECTIVE = InfoNCE
