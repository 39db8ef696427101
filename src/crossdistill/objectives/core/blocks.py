"""Sums over blocks of rows, of which one at a time is in memory, in the backward pass too."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint


def sum_over_blocks(function: Callable[[slice], Tensor], rows: slice, block: int) -> Tensor:
    """``function(part)`` summed over consecutive parts of ``rows``, each of ``block`` rows at most.

    A part is computed again in the backward pass instead of being kept. For the objectives that are no softmax
    cross-entropies; those have :func:`~crossdistill.objectives.core.similarity_loss.similarity_loss`, which does not
    need to.
    """
    parts = [slice(first, min(first + block, rows.stop)) for first in range(rows.start, rows.stop, block)]
    if len(parts) == 1 or not torch.is_grad_enabled():
        values = [function(part) for part in parts]
    else:
        values = [checkpoint(function, part, use_reentrant=False, preserve_rng_state=False) for part in parts]
    # A rank without rows still takes part in the sum.
    return torch.stack(values).sum(dim=0) if values else function(slice(rows.start, rows.start))
