"""Random numbers for a batch of which this process may hold only some rows.

Several ranks share one batch. Each draws the numbers of the whole batch, from generators of equal seed, and takes those
of its own rows: a run on three ranks augments as a run on one does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Share:
    """Some rows of a batch.

    Attributes:
        first: row of the batch.
        count: rows from there on.
        total: rows of the whole batch.
    """

    first: int
    count: int
    total: int


_shares: list[Share] = []


@contextmanager
def share_of_batch(first: int, count: int, total: int) -> Iterator[None]:
    """Within the block, draws for ``count`` rows are those that rows ``first``, ... of ``total`` would get."""
    _shares.append(Share(first, count, total))
    try:
        yield
    finally:
        _shares.pop()


def whole(count: int) -> int:
    """How many rows to draw for, where ``count`` are needed."""
    return _shares[-1].total if _shares and _shares[-1].count == count else count


def own(drawn: Tensor, count: int) -> Tensor:
    """The ``count`` rows that are needed of those that were drawn, :func:`whole` of them."""
    if len(drawn) == count:
        return drawn
    first = _shares[-1].first
    return drawn[first : first + count]


def rand(*shape: int, device: torch.device | None = None, generator: torch.Generator | None = None) -> Tensor:
    """Uniform in [0, 1), ``shape``; the first axis is the batch. A generator of its own draws what is asked for."""
    if generator is not None:
        return torch.rand(shape, device=device, generator=generator)
    return own(torch.rand(whole(shape[0]), *shape[1:], device=device), shape[0])


def randn_like(values: Tensor) -> Tensor:
    """Normal, of the shape and type of ``values`` ``(B, ...)``."""
    drawn = torch.randn(whole(len(values)), *values.shape[1:], dtype=values.dtype, device=values.device)
    return own(drawn, len(values))


def randint(low: int, high: int, count: int, device: torch.device | None = None) -> Tensor:
    """Whole numbers from ``low`` to below ``high``, ``(count,)``."""
    return own(torch.randint(low, high, (whole(count),), device=device), count)


def own_rows(drawn: dict[str, Tensor], count: int) -> dict[str, Tensor]:
    """The same for parameters of several names."""
    return {name: own(value, count) for name, value in drawn.items()}


def shape_of_whole(shape: Sequence[int]) -> torch.Size:
    """The shape ``(B, ...)`` of the whole batch that a part of this shape belongs to."""
    return torch.Size([whole(shape[0]), *shape[1:]])
