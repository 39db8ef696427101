"""The whole batch of all ranks under ``torch.distributed``, with gradients that are right after DDP's averaging.

DDP divides the sum of the ranks' parameter gradients by their number W. So that the result is the gradient of the
whole batch's loss L, every rank has to send back W times its share of dL. Two rules bring that about:

- what every rank computes alike from gathered rows has the gradient dL on each of the W ranks, and the backward pass of
  :func:`gather` adds them up: W times dL;
- what each rank computes for its own rows alone is added up by :func:`sum_over_ranks`, whose backward pass adds up the
  gradients that arrive on the ranks: W times dL where all go on alike, all of it where each goes on with its own rows.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed
from torch.autograd.function import once_differentiable


def world_size() -> int:
    """Number of ranks; 1 outside ``torch.distributed``."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def row_counts(count: int, device: torch.device) -> list[int]:
    """How many rows each rank has."""
    if world_size() == 1:
        return [count]
    mine = torch.tensor([count], device=device)
    counts = [torch.zeros_like(mine) for _ in range(world_size())]
    distributed.all_gather(counts, mine)
    return [int(each) for each in counts]


def gather(rows: Tensor, counts: list[int]) -> Tensor:
    """The rows ``(b, ...)`` of all ranks in rank order, ``(B, ...)``; ``counts`` says how many each rank has."""
    if world_size() == 1:
        return rows
    gathered: Tensor = _Gather.apply(rows, counts)
    return gathered


def sum_over_ranks(value: Tensor) -> Tensor:
    """The sum of the ranks' values; see the module on its gradient."""
    if world_size() == 1:
        return value
    total: Tensor = _Sum.apply(value)
    return total


def broadcast(value: Tensor) -> Tensor:
    """Rank 0's value on every rank; of one shape everywhere."""
    if world_size() > 1:
        value = value.contiguous()
        distributed.broadcast(value, src=0)
    return value


def reduce_(value: Tensor, *, largest: bool = False) -> Tensor:
    """In place: the sum over the ranks, or the largest. Not differentiable."""
    if world_size() > 1:
        distributed.all_reduce(value, distributed.ReduceOp.MAX if largest else distributed.ReduceOp.SUM)
    return value


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, counts: list[int]) -> Tensor:
        ctx.counts = counts
        padded = rows.new_zeros((max(counts), *rows.shape[1:]))
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in counts]
        distributed.all_gather(parts, padded)
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        total = reduce_(gradient.clone(memory_format=torch.contiguous_format))
        first = sum(ctx.counts[: distributed.get_rank()])
        return total[first : first + ctx.counts[distributed.get_rank()]], None


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        return reduce_(value.clone())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return reduce_(gradient.clone())
