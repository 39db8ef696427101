"""Gradient caching: batches whose activations do not fit, with the very gradients that they would have.

A contrastive loss needs the embeddings of the whole batch at once, but not the activations behind them. So the batch is
embedded part by part without keeping any activation; the loss gives the gradient of every embedding; and in the
backward pass each part is embedded once more, now with activations, to carry that gradient on into the parameters
(arXiv 2101.06983). Each part sees the same random numbers, and the same buffers, in both passes.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from crossdistill import ranks
from crossdistill.errors import ConfigError
from crossdistill.training.shared_norm import SharedBatchNorm

BatchNorm = Literal["refuse", "per_part"]


def check_parts(
    encoder: nn.Module,
    count: int,
    size: int,
    batch_norm: BatchNorm,
    *,
    where: str = "embed_at_once",
    beforehand: bool = False,
) -> None:
    """Refuses what gradient caching of batches of ``count`` in parts of ``size`` would change.

    Args:
        encoder: as it is, or before it is set to training mode.
        count: of a batch.
        size: of a part.
        batch_norm: see :func:`embed_in_parts`.
        where: the setting, for messages.
        beforehand: whether the encoder will be trained as a whole later.

    Raises:
        ConfigError: there are layers that normalise with the statistics of their batch, and they are to be refused, or
            a part of theirs would be a single item; or a setting is none.
    """
    if batch_norm not in get_args(BatchNorm) or size < 1:
        raise ConfigError("A setting of gradient caching is wrong.", where=where,
                          expected="a size of 1 or more, batch_norm: refuse or per_part",
                          received=f"{size}, batch_norm: {batch_norm}")  # fmt: skip
    if count <= size:
        return
    norms = [
        layer
        for layer in encoder.modules()
        if isinstance(layer, _BatchNorm) and (beforehand or layer.training or not layer.track_running_stats)
    ]
    if not norms:
        return
    received = f"{len(norms)} layers of {type(norms[0]).__name__}, batches of {count} in parts of {size}"
    if batch_norm == "refuse":
        raise ConfigError(
            "Gradient caching would change what batch normalisation computes.",
            where=where,
            expected="an encoder without batch normalisation (such as vit_tiny_patch16_224 or convnext_atto)",
            received=received,
            fix="leave embed_at_once out, or set batch_norm: per_part beside it to normalise each part on its own",
        )
    if size == 1:
        raise ConfigError("Batch normalisation needs parts of two items or more.", where=where, received=received)


def embed_in_parts(encoder: nn.Module, items: Tensor, size: int, *, batch_norm: BatchNorm = "refuse") -> Tensor:
    """``encoder(items)`` with the activations of ``size`` items in memory at a time; values and gradients are exact.

    Args:
        encoder: maps ``(b, *shape)`` to ``(b, d)``, each item by itself but for batch normalisation.
        items: ``(B, *shape)``; they are divided into parts that are as even as can be.
        size: of a part, at most.
        batch_norm: what to do about layers that normalise with the statistics of their batch, which in parts are those
            of a part: "refuse" them, or normalise "per_part". The latter is another network than the one in whole
            batches, whose gradients are exact; its running statistics are updated once a part.

    Returns:
        ``(B, d)``.

    Raises:
        ConfigError: see :func:`check_parts`. Layers in eval mode are not refused.
    """
    check_parts(encoder, len(items), size, batch_norm)
    # Normalisation over ranks is something that all of them do together: each has to have as many parts as the others.
    largest = ranks.largest(len(items)) if batch_norm == "per_part" else len(items)
    if largest <= size:
        embedded: Tensor = encoder(items)
        return embedded
    parts = torch.tensor_split(items, -(-largest // size))
    if not torch.is_grad_enabled():
        return torch.cat([encoder(part) for part in parts])

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        first = _FirstPass(encoder)
        return first, _SecondPass(encoder, first)

    return torch.cat(
        [checkpoint(encoder, part, use_reentrant=False, preserve_rng_state=True, context_fn=contexts) for part in parts]
    )


class _FirstPass(AbstractContextManager[None]):
    """Remembers the buffers (running statistics, the vectors of a spectral norm) that a part began with."""

    def __init__(self, encoder: nn.Module) -> None:
        self._encoder = encoder
        self.before: list[Tensor] = []

    def __enter__(self) -> None:
        self.before = [buffer.clone() for buffer in self._encoder.buffers()]

    def __exit__(self, *_: object) -> None:
        return None


class _SecondPass(AbstractContextManager[None]):
    """Computes with these once more, and leaves the buffers as it found them. May be entered again and again."""

    def __init__(self, encoder: nn.Module, first: _FirstPass) -> None:
        self._encoder = encoder
        self._first = first
        self._after: list[Tensor] = []

    def __enter__(self) -> None:
        self._after = [buffer.clone() for buffer in self._encoder.buffers()]
        self._set(self._first.before)
        self._norm = SharedBatchNorm.again()
        self._norm.__enter__()

    def __exit__(self, *error: object) -> None:
        self._norm.__exit__(*error)  # type: ignore[arg-type]
        self._set(self._after)

    @torch.no_grad()
    def _set(self, values: list[Tensor]) -> None:
        for buffer, value in zip(self._encoder.buffers(), values, strict=True):
            buffer.copy_(value)
