"""CRD, contrastive representation distillation: noise-contrastive estimation against memory banks of both networks."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from crossdistill.errors import ConfigError
from crossdistill.objectives.core import Batch, Objective, TeacherColumns
from crossdistill.objectives.core.rows import check_positive, unit_rows

_CELLS = 2**24  # logits of anchors with a whole memory that are in memory at a time


class CRD(Objective):
    """For student anchors against the teacher's memory, and teacher anchors against the student's, summed:

    ``-1/B sum_i [ log h(i, i) + sum_{k=1..K} log(1 - h(i, n_k)) ]``, ``h(i, j) = P_ij / (P_ij + K/N)``,
    ``P_ij = exp(<anchor_i, memory_j>/tau) / Z``, with K negatives n_k drawn anew from the N items for each anchor, and
    Z fixed to N times the mean of the first batch's exponentials.

    Source: Tian et al., arXiv 1910.10699, equations 17 to 20, and its published code: linear maps of both networks'
    embeddings are learnt, memory rows start random and are moved towards each new embedding by ``1 - momentum``. The
    maps keep the student out of the teacher's own space, so that it cannot retrieve across modalities. With
    ``projection=None`` there are none: the teacher's memory then holds its embeddings from the start, and the second
    term, whose gradient would go into the teacher's map alone, is left out.

    Call :meth:`prepare` with the whole pair set first, and give the ids of the rows: they find the memory's rows.

    Args:
        projection: width of the linear maps.
        negatives: K, as published.
        temperature: tau.
        momentum: of the memories.
        seed: of the maps' and memories' start, and of the negatives.
    """

    two_towers = False
    search = (("temperature", (0.07, 0.04, 0.14)),)

    student_memory: Tensor
    teacher_memory: Tensor
    item_ids: Tensor
    log_normalisers: Tensor
    calls: Tensor

    def __init__(
        self,
        projection: int | None = 128,
        negatives: int = 16_384,
        temperature: float = 0.07,
        momentum: float = 0.5,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if not 0 <= momentum < 1 or not 0 <= seed < 2**31:
            raise ConfigError("A setting of the memory is wrong.", where="objective crd",
                              expected="momentum from 0 to below 1, a seed from 0 to 2^31 - 1",
                              received=f"momentum {momentum}, seed {seed}")  # fmt: skip
        if projection is not None:
            check_positive(projection, what="width of the projection", name="crd")
        self.projection = projection
        self.scale = 1 / check_positive(temperature, what="temperature", name="crd")
        self.negatives = int(check_positive(negatives, what="number of negatives", name="crd"))
        self.momentum = momentum
        self.seed = seed
        self.maps = nn.ModuleList()  # of the student and of the teacher, once the width is known
        for name in ("student_memory", "teacher_memory"):
            self.register_buffer(name, torch.zeros(0, 0))  # (N, projection or d)
        self.register_buffer("item_ids", torch.zeros(0, dtype=torch.long), persistent=False)  # (N,), rising
        self.register_buffer("log_normalisers", torch.full((2,), math.nan))
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))

    def prepare(self, bank: TeacherColumns) -> None:
        """Makes maps and memories, and forgets earlier ones. A source item in several pairs has one row.

        Every rank holds all of it, also of a bank that is spread over the ranks.
        """
        super().prepare(bank)
        device = self.calls.device
        with torch.inference_mode(False), torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            if self.projection is None:
                unit, all_ids = bank.everything(like=torch.zeros((), device=device))
                self.item_ids, inverse = torch.unique(all_ids, return_inverse=True)
                self.teacher_memory = torch.empty(len(self.item_ids), bank.width, device=device)
                self.teacher_memory[inverse] = unit
            else:
                self.maps = nn.ModuleList(nn.Linear(bank.width, self.projection) for _ in range(2)).to(device)
                self.item_ids = torch.unique(bank.all_ids(device))
                bound = 1 / math.sqrt(self.projection / 3)
                shape = len(self.item_ids), self.projection
                starts = [(torch.rand(shape) * 2 * bound - bound).to(device) for _ in range(2)]
                self.student_memory, self.teacher_memory = starts
            self.log_normalisers = torch.full((2,), math.nan, device=device)
            self.calls = torch.zeros((), dtype=torch.long, device=device)

    def loss(self, batch: Batch) -> Tensor:
        """See the class. In training mode it brings the memories up to date.

        Raises:
            ValueError: it was not prepared, ids are missing, or one is not among those it was prepared with.
        """
        place = self._places(batch)
        drawn = torch.cat([place[:, None], self._draw(place)], dim=1)  # the own item first
        student, teacher = batch.unit_student, batch.unit_teacher
        if len(self.maps):
            student, teacher = (
                unit_rows(F.linear(rows, layer.weight.to(rows), layer.bias.to(rows)))
                for layer, rows in zip(self._linear(), (student, teacher), strict=True)
            )
        sides = [(student, self.teacher_memory)] + ([(teacher, self.student_memory)] if len(self.maps) else [])
        total = student.new_zeros(())
        for index, (anchors, memory) in enumerate(sides):
            # Its rows change before the backward pass, which needs them as they were.
            kept = memory.to(anchors).clone() if self.training and len(self.maps) else memory.to(anchors)
            logits = self._logits(anchors, kept, drawn)
            if self.training and not bool(torch.isfinite(self.log_normalisers[index])):
                mean = torch.logsumexp(logits.detach().flatten(), 0) - math.log(logits.numel())
                self.log_normalisers[index] = mean + math.log(len(self.item_ids))
            total = total + self._estimate(logits, index)
        if self.training:
            if len(self.maps):
                self._remember(self.student_memory, student.detach(), place)
                self._remember(self.teacher_memory, teacher.detach(), place)
            self.calls += 1
        return total

    def _linear(self) -> list[nn.Linear]:
        return [layer for layer in self.maps if isinstance(layer, nn.Linear)]

    def _places(self, batch: Batch) -> Tensor:
        """The memory's rows of the batch's items, ``(B,)``."""
        if not batch.named or not len(self.item_ids):
            raise ValueError(
                "CRD needs a memory of all items: call prepare(TeacherColumns(embeddings, ids)) before its first use, "
                "and pass the ids (B,) of the rows."
            )
        self.item_ids = self.item_ids.to(batch.ids.device)
        place = torch.searchsorted(self.item_ids, batch.ids).clamp(max=len(self.item_ids) - 1)
        unknown = self.item_ids[place] != batch.ids
        if bool(unknown.any()):
            raise ValueError(
                f"CRD has no memory of id {int(batch.ids[unknown][0])}: prepare it with the ids of all pairs"
            )
        return place

    def _draw(self, place: Tensor) -> Tensor:
        """Negatives ``(B, K)``, none of them the anchor's own item; the same whatever the order of the rows."""
        count = len(self.item_ids)
        generator = torch.Generator().manual_seed(self.seed * 2**32 + int(self.calls))
        shifts = torch.randint(1, max(2, count), (len(place), self.negatives), generator=generator).to(place.device)
        shifts = shifts[torch.argsort(torch.argsort(place, stable=True))]
        return (place[:, None] + shifts) % count

    def _logits(self, anchors: Tensor, memory: Tensor, drawn: Tensor) -> Tensor:
        """``(B, d)`` and ``(N, d)`` to the logits of the drawn rows, ``(B, 1 + K)``; some anchors at a time."""

        def some(part: Tensor, columns: Tensor) -> Tensor:
            return (part @ memory.T * self.scale).gather(1, columns)

        size = max(1, _CELLS // max(1, len(memory)))
        parts = zip(torch.split(anchors, size), torch.split(drawn, size), strict=True)
        if len(anchors) <= size:
            return some(anchors, drawn)
        return torch.cat([checkpoint(some, *part, use_reentrant=False, preserve_rng_state=False) for part in parts])

    def _estimate(self, logits: Tensor, index: int) -> Tensor:
        count = len(self.item_ids)
        fixed = self.log_normalisers[index]
        # Before any training step: the value for anchors that are orthogonal to the memory.
        log_normaliser = torch.where(torch.isfinite(fixed), fixed, torch.full_like(fixed, math.log(count)))
        # h = sigmoid(log P - log(K/N)), which never divides.
        odds = logits - log_normaliser.to(logits) - math.log(self.negatives / count)
        return -(F.logsigmoid(odds[:, 0]) + F.logsigmoid(-odds[:, 1:]).sum(dim=1)).mean()

    @torch.no_grad()
    def _remember(self, memory: Tensor, rows: Tensor, place: Tensor) -> None:
        # A row that is not finite, of a step that will be skipped, would stay in every loss from now on.
        good = torch.isfinite(rows).all(dim=1)
        rows, place = rows[good], place[good]
        moved = memory[place].float() * self.momentum + rows.float() * (1 - self.momentum)
        memory[place] = unit_rows(moved).to(memory)


OBJECTIVE = CRD
