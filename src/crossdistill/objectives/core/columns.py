"""The teacher's embeddings of the whole pair set, as columns that any batch can be compared with."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from crossdistill.objectives.core.ranks import gather, reduce_, row_counts, world_size
from crossdistill.objectives.core.rows import check_ids, epsilon_of
from crossdistill.objectives.core.same_item import SameItem, SortedIds

_CHUNK = 2048  # rows at once, where all of them are gone through


class LazyRows(Protocol):
    """A matrix ``(N, d)`` in host memory or anywhere else, whose rows are made when they are asked for."""

    @property
    def shape(self) -> torch.Size:
        """``(N, d)``."""

    @property
    def dtype(self) -> torch.dtype:
        """Of the rows."""

    def __getitem__(self, rows: slice | Tensor, /) -> Tensor:
        """Some rows ``(n, d)`` on the CPU."""


class TeacherColumns:
    """Frozen embeddings ``(N, d)`` with the identities of their source items, in memory or memory-mapped.

    Nothing is copied: tiles of unit rows are made when they are needed. A tensor on the student's device is used there;
    one in host memory is carried over tile by tile.

    Args:
        embeddings: ``(N, d)`` in float32, bfloat16, float16 or float64, of any length; a tensor, or an array such as
            ``numpy.load(path, mmap_mode="r")`` gives; or :class:`LazyRows`, such as those of a teacher bank.
        ids: identities of the source items, ``(N,)``; row numbers by default.
        sharded: under ``torch.distributed``, whether each rank holds its own part of the columns (with ids that are
            unique over all ranks) instead of all of them. A rank's part may be empty.

    Raises:
        ValueError: shapes do not fit.
    """

    def __init__(
        self,
        embeddings: Tensor | NDArray[np.floating] | LazyRows,
        ids: Tensor | NDArray[np.integer] | None = None,
        *,
        sharded: bool = False,
    ) -> None:
        if isinstance(embeddings, np.ndarray):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # about a read-only map: nothing here writes to it
                embeddings = torch.from_numpy(embeddings)
        if len(embeddings.shape) != 2 or not embeddings.dtype.is_floating_point:
            raise ValueError(f"columns are floating (N, d); received {embeddings.dtype} {tuple(embeddings.shape)}")
        count = embeddings.shape[0]
        if not count and not sharded:
            raise ValueError("columns need at least one row")
        ids = torch.arange(count) if ids is None else check_ids(ids, count, name="columns")
        self.embeddings: Tensor | LazyRows = embeddings.detach() if isinstance(embeddings, Tensor) else embeddings
        self.sharded = sharded
        self.device = device = embeddings.device if isinstance(embeddings, Tensor) else torch.device("cpu")
        self.ids = ids.to(device)
        self._sorted = SortedIds.of(self.ids)
        length = torch.empty(count, dtype=torch.float64, device=device)
        # One buffer for all chunks: temporaries of this size, freed one by one, leave the heap in pieces.
        buffer = torch.empty(min(_CHUNK, count), self.width, dtype=torch.float64, device=device)
        for start in range(0, count, _CHUNK):
            chunk = self.embeddings[start : start + _CHUNK]
            torch.linalg.vector_norm(buffer[: len(chunk)].copy_(chunk), dim=1, out=length[start : start + _CHUNK])
        self._inverse_length = length.clamp_(min=epsilon_of(torch.float32)).reciprocal_()

    def __len__(self) -> int:
        return self.embeddings.shape[0]

    @property
    def width(self) -> int:
        """d."""
        return self.embeddings.shape[1]

    def to(self, device: torch.device) -> TeacherColumns:
        """The same columns on a device."""
        if device == self.device:
            return self
        if isinstance(self.embeddings, Tensor):
            return TeacherColumns(self.embeddings.to(device), self.ids, sharded=self.sharded)
        there = torch.empty(self.embeddings.shape, dtype=self.embeddings.dtype, device=device)
        for start in range(0, len(self), _CHUNK):
            there[start : start + _CHUNK] = self.embeddings[start : start + _CHUNK]
        return TeacherColumns(there, self.ids, sharded=self.sharded)

    def tiles(self, size: int, like: Tensor) -> Iterator[Tensor]:
        """Unit rows ``(<= size, d)`` of each tile, in the type and on the device of ``like``.

        Each overwrites the one before it.
        """
        buffer = like.new_empty(min(size, len(self)), self.width)
        inverse = self._inverse_length.to(device=like.device, dtype=like.dtype)
        for start in range(0, len(self), size):
            part = self.embeddings[start : start + size]
            yield buffer[: len(part)].copy_(part).mul_(inverse[start : start + size, None])

    def everything(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """All of them as unit rows ``(N, d)`` in ``like``'s type and on its device, of all ranks; and their ids."""
        unit = like.new_empty(len(self), self.width)
        for number, tile in enumerate(self.tiles(_CHUNK, like)):
            unit[number * _CHUNK : number * _CHUNK + len(tile)] = tile
        ids = self.all_ids(like.device)
        return (gather(unit, row_counts(len(self), like.device)) if self.sharded else unit), ids

    def all_ids(self, device: torch.device) -> Tensor:
        """The ids of all ranks' columns, ``(N,)``."""
        ids = self.ids.to(device)
        return gather(ids, row_counts(len(self), device)) if self.sharded else ids

    def sample(self, count: int, seed: int, like: Tensor) -> Tensor:
        """Up to about ``count`` unit rows, drawn by ``seed`` from those of all ranks, ``(n, d)``."""
        share = -(-count // world_size()) if self.sharded else count
        rows = torch.arange(len(self))
        if len(self) > share:
            rows = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))[:share].sort().values
        rows = rows.to(self.device)
        unit = (self.embeddings[rows].double() * self._inverse_length[rows, None]).to(like)
        return gather(unit, row_counts(len(unit), like.device)) if self.sharded else unit

    def moments(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and unbiased variance ``(d,)`` of the unit rows of all ranks, tile by tile."""
        count = torch.tensor(float(len(self)), dtype=torch.float64, device=like.device)
        mean, squares = (torch.zeros(self.width, dtype=torch.float64, device=like.device) for _ in range(2))
        for tile in self.tiles(_CHUNK, like):
            mean += tile.sum(dim=0, dtype=torch.float64)
        count, mean = (reduce_(each) if self.sharded else each for each in (count, mean))
        mean = mean / count
        for tile in self.tiles(_CHUNK, like):
            squares += (tile - mean.to(tile)).square().sum(dim=0, dtype=torch.float64)
        squares = reduce_(squares) if self.sharded else squares
        return mean.to(like.dtype), (squares / (count - 1).clamp(min=1)).to(like.dtype)

    def same_item(self, ids: Tensor) -> SameItem:
        """Which columns show the same source items as rows of these ``ids`` ``(B,)``."""
        return SameItem(ids, self.ids, self._sorted)
