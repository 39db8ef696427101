"""What an objective sees in one step: the rows of all ranks, and which of them are this rank's own."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, distributed

from crossdistill.objectives.core.ranks import gather, row_counts, sum_over_ranks, world_size
from crossdistill.objectives.core.rows import epsilon_of, exact, unit_rows


@dataclass(frozen=True)
class Batch:
    """Paired embeddings of one step, in float32 or float64.

    An objective that computes with all rows is right on many ranks as it is. One that computes with the rows in
    ``mine`` alone, to share the work, hands its sum to :meth:`total`.

    Attributes:
        student: ``(B, d)``, of all ranks, with gradients.
        teacher: ``(B, d)``, of all ranks.
        ids: identities of the source items, ``(B,)``; all different where none were given.
        named: whether ids were given.
        mine: the rows of this rank.
        epsilons: lengths below which a row of the student, and of the teacher, counts as zero.
    """

    student: Tensor
    teacher: Tensor
    ids: Tensor
    named: bool
    mine: slice
    epsilons: tuple[float, float]

    @classmethod
    def of(cls, student: Tensor, teacher: Tensor, ids: Tensor | None) -> Batch:
        """The batch that this rank's rows ``(b, d)`` and ids ``(b,)`` are part of."""
        device = student.device
        counts = row_counts(len(student), device)
        first = sum(counts[: distributed.get_rank()]) if world_size() > 1 else 0
        everyone = torch.arange(sum(counts), device=device) if ids is None else gather(ids.to(device), counts)
        return cls(
            student=gather(exact(student), counts),
            teacher=gather(exact(teacher.to(device)), counts).to(exact(student).dtype),
            ids=everyone,
            named=ids is not None,
            mine=slice(first, first + len(student)),
            epsilons=(epsilon_of(student.dtype), epsilon_of(teacher.dtype)),
        )

    def __len__(self) -> int:
        return len(self.student)

    @cached_property
    def unit_student(self) -> Tensor:
        """Student rows of length one, ``(B, d)``."""
        return unit_rows(self.student, self.epsilons[0])

    @cached_property
    def unit_teacher(self) -> Tensor:
        """Teacher rows of length one, ``(B, d)``."""
        return unit_rows(self.teacher, self.epsilons[1])

    def total(self, of_mine: Tensor) -> Tensor:
        """The sum over all ranks of what each computed for the rows in ``mine``."""
        return sum_over_ranks(of_mine)
