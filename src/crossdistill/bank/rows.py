"""Rows of a bank as a matrix that is never in memory as a whole."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

_CHUNK = 2048  # rows at once, where many are gone through


class BankRows:
    """A float32 matrix ``(n, d)``: chosen rows of a memory-mapped one, minus a centre, times a factor.

    Nothing is read until asked for.

    Args:
        matrix: ``(N, d)`` in any floating type, on the CPU.
        rows: which of them, ``(n,)``; all by default.
        centre: ``(d,)`` in float32, subtracted from each.
        factor: ``(d,)`` in float32, by which each is multiplied then.
    """

    dtype = torch.float32
    device = torch.device("cpu")
    ndim = 2

    def __init__(
        self, matrix: Tensor, rows: Tensor | None = None, centre: Tensor | None = None, factor: Tensor | None = None
    ) -> None:
        self.matrix = matrix
        self.rows = torch.arange(len(matrix)) if rows is None else rows
        self.centre = centre
        self.factor = factor

    @property
    def shape(self) -> torch.Size:
        """``(n, d)``."""
        return torch.Size((len(self.rows), self.matrix.shape[1]))

    @property
    def nbytes(self) -> int:
        """Bytes that all of it would take in memory."""
        return self.shape.numel() * self.dtype.itemsize

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, positions: slice | Tensor | Sequence[int]) -> Tensor:
        """The rows at some positions, ``(m, d)`` in float32, copied into memory."""
        if not isinstance(positions, slice):
            positions = torch.as_tensor(positions, dtype=torch.long)
        read = self.matrix.index_select(0, self.rows[positions]).float()
        if self.centre is not None:
            read.sub_(self.centre)
        return read if self.factor is None else read.mul_(self.factor)

    def subset(self, positions: Tensor | Sequence[int]) -> BankRows:
        """Some of its rows; nothing is read."""
        return BankRows(self.matrix, self.rows[torch.as_tensor(positions, dtype=torch.long)], self.centre, self.factor)

    def centred(self, centre: Tensor) -> BankRows:
        """The same rows minus ``centre`` ``(d,)``; ValueError if they are centred already."""
        if self.centre is not None or self.factor is not None:
            raise ValueError("these rows are centred or scaled already")
        return BankRows(self.matrix, self.rows, centre)

    def scaled(self, factor: Tensor) -> BankRows:
        """The same rows, each value times that of ``factor`` ``(d,)``; ValueError if they are scaled already."""
        if self.factor is not None:
            raise ValueError("these rows are scaled already")
        return BankRows(self.matrix, self.rows, self.centre, factor)

    def lengths(self, positions: Tensor | Sequence[int], columns: slice) -> float:
        """The mean length of some columns of the rows at some positions, added up in float64."""
        chosen, total = torch.as_tensor(positions, dtype=torch.long), 0.0
        for start in range(0, len(chosen), _CHUNK):
            total += float(self[chosen[start : start + _CHUNK]][:, columns].double().norm(dim=1).sum())
        return total / len(chosen)

    def mean(self, positions: Tensor | Sequence[int] | None = None) -> Tensor:
        """The mean of the rows at some positions (all by default), ``(d,)`` in float32, added up in float64."""
        chosen = torch.arange(len(self)) if positions is None else torch.as_tensor(positions, dtype=torch.long)
        total = torch.zeros(self.shape[1], dtype=torch.float64)
        for start in range(0, len(chosen), _CHUNK):
            total += self[chosen[start : start + _CHUNK]].sum(dim=0, dtype=torch.float64)
        return (total / len(chosen)).float()

    def to(self, device: torch.device) -> Tensor:
        """All of it, in the memory of a device."""
        result = torch.empty(self.shape, dtype=self.dtype, device=device)
        for start in range(0, len(self), _CHUNK):
            result[start : start + _CHUNK] = self[start : start + _CHUNK]
        return result
