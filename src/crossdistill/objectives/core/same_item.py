"""Cells of a similarity matrix whose row and column show the same source item, and are therefore no negatives."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

# Stands for minus infinity in logits. Finite, so that 0 * EXCLUDED is 0 and not NaN; exp(EXCLUDED - any logit) is 0.
EXCLUDED = -1e30
_SPARSE = 4  # up to this many cells a row are listed one by one


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
        self._cells: tuple[Tensor, Tensor] | None = None
        if int(count.sum()) <= _SPARSE * max(1, len(row_ids)):
            rows = torch.repeat_interleave(torch.arange(len(count), device=count.device), count)
            within = torch.arange(len(rows), device=count.device) - (torch.cumsum(count, 0) - count)[rows]
            self._cells = rows, order[first[rows] + within]

    def exclude_(self, logits: Tensor, row: int = 0, column: int = 0) -> None:
        """Fills these cells of a block of the matrix, in place.

        Args:
            logits: ``(R, C)``, the block whose first cell is ``(row, column)``.
            row: first row.
            column: first column.
        """
        if self._cells is None:
            rows, columns = slice(row, row + logits.shape[0]), slice(column, column + logits.shape[1])
            logits.masked_fill_(self._row_ids[rows, None] == self._column_ids[None, columns], EXCLUDED)
            return
        cell_row, cell_column = self._cells[0] - row, self._cells[1] - column
        inside = (cell_row >= 0) & (cell_row < logits.shape[0]) & (cell_column >= 0) & (cell_column < logits.shape[1])
        if bool(inside.any()):
            logits[cell_row[inside], cell_column[inside]] = EXCLUDED
