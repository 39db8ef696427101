"""KD on soft cluster assignments: classical distillation, with clusters of the teacher's space in place of classes."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from crossdistill.errors import ConfigError
from crossdistill.objectives.core import Batch, Objective, TeacherColumns, Temperature
from crossdistill.objectives.core.ranks import broadcast
from crossdistill.objectives.core.rows import unit_rows

_LARGEST_SAMPLE = 100_000  # rows that the clusters are found on


class KD(Objective):
    """``1/B sum_i KL(softmax_k(<t_i, c_k>/tau) || softmax_k(<s_i, c_k>/tau))``, c_k unit centres of clusters.

    They are found by k-means on the unit embeddings of the whole pair set that ``prepare`` is given, or without it on
    those of the first batch.

    Source: Hinton et al., arXiv 1503.02531, on pseudo-classes as in Noroozi et al., arXiv 1805.00385. Its factor tau^2
    is left out: it makes up for softened logits of a network, and these are cosines.

    Args:
        clusters: how many; at most as many as there are pairs.
        temperature: tau.
        seed: of k-means.
    """

    two_towers = False
    search = (("temperature", (0.1, 0.05, 0.2)),)

    centres: Tensor

    def __init__(self, clusters: int = 128, temperature: float = 0.1, seed: int = 0) -> None:
        super().__init__()
        self.temperature = Temperature(temperature, name="kd")
        if clusters < 2 or not 0 <= seed < 2**32:
            raise ConfigError("A setting of the clusters is wrong.", where="objective kd",
                              expected="clusters of 2 or more, a seed from 0 to 2^32 - 1",
                              received=f"clusters {clusters}, seed {seed}")  # fmt: skip
        self.clusters = clusters
        self.seed = seed
        self.register_buffer("centres", torch.zeros(0, 0))

    def prepare(self, bank: TeacherColumns) -> None:
        """Finds the centres ``(clusters, d)``."""
        from sklearn.cluster import MiniBatchKMeans  # slow to import, and of no use to the other objectives

        super().prepare(bank)
        device = self.centres.device
        with torch.inference_mode(False):  # the centres are used in training, whoever calls this
            rows = bank.sample(_LARGEST_SAMPLE, self.seed, like=torch.zeros((), device=device)).cpu().numpy()
            count = min(self.clusters, len(rows))
            found = MiniBatchKMeans(count, random_state=self.seed, n_init=3, batch_size=4096).fit(rows)
            centres = unit_rows(torch.from_numpy(found.cluster_centers_).float())
            self.centres = broadcast(centres.to(device))

    def loss(self, batch: Batch) -> Tensor:
        """See the class."""
        student, teacher = batch.unit_student, batch.unit_teacher
        if not len(self.centres):
            self.prepare(TeacherColumns(teacher.detach().clone()))
        centres, scale = self.centres.to(student), self.temperature(student)
        ours = F.log_softmax(student @ centres.T * scale, dim=1)
        theirs = F.log_softmax(teacher.detach() @ centres.T * scale, dim=1)
        return F.kl_div(ours, theirs, reduction="batchmean", log_target=True)


OBJECTIVE = KD
