"""CRD, contrastive representation distillation: noise-contrastive estimation against a memory bank of both networks."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from crossdistill.objectives.core import Batch, Objective, TeacherColumns
from crossdistill.objectives.core.rows import check_positive, unit_rows


class CRD(Objective):
    """For student anchors against the teacher's memory, and teacher anchors against the student's, summed:

    ``-1/B sum_i [ log h(i, i) + sum_{k=1..K} log(1 - h(i, n_k)) ]``, ``h(i, j) = P_ij / (P_ij + K/N)``,
    ``P_ij = exp(<anchor_i, memory_j>/tau) / Z``, with K negatives n_k drawn anew from the N items for each anchor, and
    Z fixed to N times the mean of the first batch's exponentials.

    Source: Tian et al., arXiv 1910.10699, equations 17 to 20 and its published code: memory rows start random, and are
    moved towards each new embedding by ``1 - momentum``. Different here: no linear map before the comparison, as it is
    the teacher's own space that the student should share; and the teacher's memory, being frozen, holds its embeddings
    from the start. Of the field's losses it is the one that is only right after ``prepare``; without it the first batch
    is taken for the whole set.

    Args:
        negatives: K; the paper's is 16,384.
        temperature: tau.
        momentum: of the student's memory.
        seed: of the memory's start and of the negatives.
    """

    student_memory: Tensor
    teacher_memory: Tensor
    item_ids: Tensor
    normalisers: Tensor
    calls: Tensor

    def __init__(self, negatives: int = 4096, temperature: float = 0.07, momentum: float = 0.5, seed: int = 0) -> None:
        super().__init__()
        self.scale = 1 / check_positive(temperature, what="temperature", name="crd")
        self.negatives = int(check_positive(negatives, what="number of negatives", name="crd"))
        self.momentum = momentum
        self.seed = seed
        self.register_buffer("student_memory", torch.zeros(0, 0))  # (N, d)
        self.register_buffer("teacher_memory", torch.zeros(0, 0), persistent=False)  # (N, d), from the bank
        self.register_buffer("item_ids", torch.zeros(0, dtype=torch.long), persistent=False)  # (N,), rising
        self.register_buffer("normalisers", torch.full((2,), -1.0))
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))

    def prepare(self, bank: TeacherColumns) -> None:
        """Makes both memories. A source item that stands in several pairs has one row."""
        super().prepare(bank)
        device = self.student_memory.device
        unit, all_ids = bank.everything(like=torch.zeros((), device=device))
        ids, inverse = torch.unique(all_ids, return_inverse=True)
        rows = torch.empty(len(ids), dtype=torch.long, device=device)
        rows[inverse] = torch.arange(len(inverse), device=device)
        self.item_ids, self.teacher_memory = ids, unit[rows]
        generator = torch.Generator().manual_seed(self.seed)
        bound = 1 / math.sqrt(unit.shape[1] / 3)
        start = torch.rand(len(ids), unit.shape[1], generator=generator) * 2 * bound - bound
        self.student_memory = start.to(device)

    def loss(self, batch: Batch) -> Tensor:
        """See the class. In training mode it brings the student's memory up to date.

        Raises:
            ValueError: an id that ``prepare`` was not told of.
        """
        student, teacher = batch.unit_student, batch.unit_teacher.detach()
        if not len(self.item_ids):
            self.student_memory = self.student_memory.to(student.device)
            self.prepare(TeacherColumns(teacher, batch.ids))
        place = torch.searchsorted(self.item_ids, batch.ids).clamp(max=len(self.item_ids) - 1)
        if not bool((self.item_ids[place] == batch.ids).all()):
            unknown = int(batch.ids[self.item_ids[place] != batch.ids][0])
            raise ValueError(
                f"CRD has no memory of id {unknown}: call prepare with the embeddings and ids of all pairs"
            )
        drawn = self._draw(place)
        if self.training and bool((self.normalisers < 0).any()):
            with torch.no_grad():
                for index, (anchors, memory) in enumerate(self._sides(student, teacher)):
                    exponentials = torch.exp(self._logits(anchors, memory, place, drawn))
                    self.normalisers[index] = exponentials.mean() * len(self.item_ids)
        losses = [
            self._estimate(self._logits(anchors, memory, place, drawn), normaliser)
            for (anchors, memory), normaliser in zip(
                self._sides(student, teacher), self._used_normalisers(), strict=True
            )
        ]
        if self.training:
            self._remember(student.detach(), place)
            self.calls += 1
        return losses[0] + losses[1]

    def _sides(self, student: Tensor, teacher: Tensor) -> list[tuple[Tensor, Tensor]]:
        memory = self.student_memory.clone() if self.training else self.student_memory  # it changes before backward
        return [(student, self.teacher_memory.to(student)), (teacher, memory.to(student))]

    def _used_normalisers(self) -> list[float]:
        # Before any training step: the value for anchors that are orthogonal to the memory.
        return [float(each) if each > 0 else float(len(self.item_ids)) for each in self.normalisers]

    def _draw(self, place: Tensor) -> Tensor:
        """Negatives ``(B, K)``, none of them the anchor's own item; the same whatever the order of the rows."""
        count = len(self.item_ids)
        generator = torch.Generator().manual_seed(self.seed * 2**32 + int(self.calls))
        shifts = torch.randint(1, max(2, count), (len(place), self.negatives), generator=generator).to(place.device)
        shifts = shifts[torch.argsort(torch.argsort(place, stable=True))]
        return (place[:, None] + shifts) % count

    def _logits(self, anchors: Tensor, memory: Tensor, place: Tensor, drawn: Tensor) -> Tensor:
        """Own logit first, then the negatives', ``(B, 1 + K)``."""
        return (anchors @ memory.T * self.scale).gather(1, torch.cat([place[:, None], drawn], dim=1))

    def _estimate(self, logits: Tensor, normaliser: float) -> Tensor:
        # h = sigmoid(log P - log(K/N)), which never divides.
        count = len(self.item_ids)
        odds = logits - math.log(normaliser) - math.log(self.negatives / count)
        own, others = odds[:, 0], odds[:, 1:]
        return -(torch.nn.functional.logsigmoid(own) + torch.nn.functional.logsigmoid(-others).sum(dim=1)).mean()

    @torch.no_grad()
    def _remember(self, student: Tensor, place: Tensor) -> None:
        moved = self.student_memory[place] * self.momentum + student.to(self.student_memory) * (1 - self.momentum)
        self.student_memory[place] = unit_rows(moved)


OBJECTIVE = CRD
