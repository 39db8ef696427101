"""The base of every objective: checks, precision and ranks are settled once, before the loss itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from crossdistill.objectives.core.batch import Batch
from crossdistill.objectives.core.columns import TeacherColumns
from crossdistill.objectives.core.rows import check_ids, check_shapes

Against = Literal["batch", "bank"]
"""What an anchor is compared with: the other rows of its batch, or the teacher's embeddings of the whole pair set."""


class Objective(nn.Module, ABC):
    """A loss of paired embeddings. Call it with ``(student (B, d), teacher (B, d), ids (B,) or None)``.

    The arithmetic is float32 (float64 for float64 inputs) whatever the inputs' type and whether autocast is on. Under
    ``torch.distributed`` every rank calls it with its own rows, as many as it has, and gets the value of the whole
    batch, and the gradients of the whole batch once DDP has averaged them.

    Attributes:
        two_towers: whether the teacher's side is given a gradient, should it want one; if not it is a constant.
        search: arguments that are worth a search, with the values to try, the default first; `crossdistill compare`
            tunes every method by them.
    """

    two_towers: ClassVar[bool] = True
    search: ClassVar[tuple[tuple[str, tuple[Any, ...]], ...]] = ()

    def __init__(self) -> None:
        super().__init__()
        self._bank: TeacherColumns | None = None

    def prepare(self, bank: TeacherColumns) -> None:
        """Told once, before training, what the teacher makes of the whole pair set. Not all objectives need it."""
        self._bank = bank

    @property
    def bank(self) -> TeacherColumns:
        """What :meth:`prepare` was given.

        Raises:
            ValueError: it was not called.
        """
        if self._bank is None:
            raise ValueError(
                f"{type(self).__name__} compares with the whole bank: call prepare(TeacherColumns(embeddings, ids)) "
                "with the teacher's embeddings of all pairs before its first use."
            )
        return self._bank

    def forward(
        self, student: Tensor, teacher: Tensor, ids: Tensor | NDArray[np.integer] | Sequence[int] | None = None
    ) -> Tensor:
        """Student ``(B, d)``, teacher ``(B, d)`` and optional identities of the source items ``(B,)`` to a scalar.

        Rows of equal id show the same source item, so that they are no negatives of each other.

        Raises:
            ValueError: shapes or types are wrong, or no rank has any row.
        """
        name = type(self).__name__
        check_shapes(student, teacher, name=name)
        if self._bank is not None and self._bank.width != student.shape[1]:
            raise ValueError(
                f"{name} was prepared with a bank of width {self._bank.width}; received {student.shape[1]}"
            )
        checked = None if ids is None else check_ids(ids, len(student), name=name)
        with torch.autocast(student.device.type, enabled=False):
            batch = Batch.of(student, teacher if self.two_towers else teacher.detach(), checked)
            if not len(batch):
                raise ValueError(f"{name} was given no rows")
            return self.loss(batch)

    @abstractmethod
    def loss(self, batch: Batch) -> Tensor:
        """The loss of one batch, a scalar."""
