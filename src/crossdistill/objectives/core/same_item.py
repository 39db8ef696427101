"""Cells of a similarity matrix whose row and column show the same source item, and are therefore no negatives."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

# Stands for minus infinity in logits. Finite, so that 0 * EXCLUDED is 0 and not NaN; exp(EXCLUDED - any logit) is 0.
EXCLUDED = -1e30
_SPARSE = 4  # up to this many cells a row are listed one by one; more are found by comparing a block's ids


class SortedIds(NamedTuple):
    """Ids in rising order, and where they came from."""

    ids: Tensor
    order: Tensor

    @classmethod
    def of(cls, ids: Tensor) -> SortedIds:
        """Sorts ``(N,)`` ids."""
        return cls(*torch.sort(ids))


class SameItem:
    """The cells (row, column) with equal ids: found by sorting, never as a whole ``(B, N)`` mask.

    Args:
        row_ids: ``(B,)``.
        column_ids: ``(N,)``.
        sorted_columns: the same in rising order, where it is at hand.
    """

    def __init__(self, row_ids: Tensor, column_ids: Tensor, sorted_columns: SortedIds | None = None) -> None:
        column_ids = column_ids.to(row_ids.device)
        ordered = SortedIds.of(column_ids) if sorted_columns is None else sorted_columns
        ids, order = ordered.ids.to(row_ids.device), ordered.order.to(row_ids.device)
        first = torch.searchsorted(ids, row_ids)
        count = torch.searchsorted(ids, row_ids, right=True) - first
        self._row_ids, self._column_ids = row_ids, column_ids
        self.found = count > 0  # (B,), whether a row has any
        self._cells: tuple[Tensor, Tensor] | None = None
        if int(count.sum()) <= _SPARSE * max(1, len(row_ids)):
            rows = torch.repeat_interleave(torch.arange(len(count), device=count.device), count)
            within = torch.arange(len(rows), device=count.device) - (torch.cumsum(count, 0) - count)[rows]
            self._cells = rows, order[first[rows] + within]

    def blocks_of_rows(self, size: int) -> list[Cells]:
        """The cells of each block of ``size`` whole rows."""
        ids = [(rows, self._column_ids) for rows in _parts(self._row_ids, size)]
        return self._blocks(size, 0, ids)

    def blocks_of_columns(self, size: int) -> list[Cells]:
        """The cells of each tile of ``size`` whole columns."""
        ids = [(self._row_ids, columns) for columns in _parts(self._column_ids, size)]
        return self._blocks(size, 1, ids)

    def _blocks(self, size: int, axis: int, ids: list[tuple[Tensor, Tensor]]) -> list[Cells]:
        if self._cells is None:
            return [Cells(None, each) for each in ids]
        block = self._cells[axis] // size
        order = torch.argsort(block, stable=True)
        counts = torch.bincount(block, minlength=len(ids)).tolist()
        within = [cells[order] - block[order] * size if axis == number else cells[order]
                  for number, cells in enumerate(self._cells)]  # fmt: skip
        parts = zip(*(torch.split(each, counts) for each in within), strict=True)
        return [Cells(part, each) for part, each in zip(parts, ids, strict=True)]


def _parts(ids: Tensor, size: int) -> list[Tensor]:
    """Parts of ``size``; none of an empty tensor, of which ``torch.split`` makes one."""
    return [ids[start : start + size] for start in range(0, len(ids), size)]


class Cells(NamedTuple):
    """The cells of one block, listed, or else to be found by comparing ids.

    Attributes:
        listed: row and column numbers within the block.
        ids: of its rows and of its columns.
    """

    listed: tuple[Tensor, Tensor] | None
    ids: tuple[Tensor, Tensor]

    def exclude_(self, logits: Tensor) -> None:
        """Fills these cells of the block ``(R, C)`` in place."""
        if self.listed is None:
            logits.masked_fill_(self.ids[0][:, None] == self.ids[1][None], EXCLUDED)
        elif len(self.listed[0]):
            logits[self.listed] = EXCLUDED
