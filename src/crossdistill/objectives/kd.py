"""KD on soft cluster assignments: classical distillation, with clusters of the teacher's space in place of classes."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from crossdistill.objectives.core import Batch, Objective, TeacherColumns, Temperature
from crossdistill.objectives.core.ranks import broadcast
from crossdistill.objectives.core.rows import unit_rows

_LARGEST_SAMPLE = 100_000  # rows that the clusters are found on


class KD(Objective):
    """``1/B sum_i KL(softmax_k(<t_i, c_k>/tau) || softmax_k(<s_i, c_k>/tau))``, c_k unit centres of clusters.

    They are found by k-means on the unit embeddings of the whole pair set that ``prepare`` is given, or without it on
    those of the first batch.

    Source: Hinton et al., arXiv 1503.02531, on pseudo-classes as in Noroozi et al., arXiv 1805.00385.

    Args:
        clusters: how many; at most as many as there are pairs.
        temperature: tau.
        seed: of k-means.
    """

    centres: Tensor

    def __init__(self, clusters: int = 128, temperature: float = 0.1, seed: int = 0) -> None:
        super().__init__()
        self.temperature = Temperature(temperature, name="kd")
        self.clusters = clusters
        self.seed = seed
        self.register_buffer("centres", torch.zeros(0, 0))

    def prepare(self, bank: TeacherColumns) -> None:
        """Finds the centres ``(clusters, d)``."""
        from sklearn.cluster import MiniBatchKMeans  # slow to import, and of no use to the other objectives

        super().prepare(bank)
        rows, _ = bank.everything(like=torch.zeros(()))
        generator = torch.Generator().manual_seed(self.seed)
        if len(rows) > _LARGEST_SAMPLE:
            rows = rows[torch.randperm(len(rows), generator=generator)[:_LARGEST_SAMPLE]]
        count = min(self.clusters, len(rows))
        found = MiniBatchKMeans(count, random_state=self.seed, n_init=3, batch_size=4096).fit(rows.numpy())
        centres = unit_rows(torch.from_numpy(found.cluster_centers_).float())
        self.centres = broadcast(centres.to(self.centres.device))

    def loss(self, batch: Batch) -> Tensor:
        """See the class."""
        student, teacher = batch.unit_student, batch.unit_teacher
        if not len(self.centres):
            self.prepare(TeacherColumns(teacher.detach()))
        centres, scale = self.centres.to(student), self.temperature(student)
        ours = F.log_softmax(student @ centres.T * scale, dim=1)
        theirs = F.log_softmax(teacher.detach() @ centres.T * scale, dim=1)
        return F.kl_div(ours, theirs, reduction="batchmean", log_target=True)


OBJECTIVE = KD
