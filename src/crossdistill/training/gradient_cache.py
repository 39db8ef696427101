"""Gradient caching: batches whose activations do not fit, with the very gradients that they would have.

A contrastive loss needs the embeddings of the whole batch at once, but not the activations behind them. So the batch is
embedded part by part without keeping any activation; the loss gives the gradient of every embedding; and in the
backward pass each part is embedded once more, now with activations, to carry that gradient on into the parameters
(arXiv 2101.06983). Each part sees the same random numbers in both passes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from crossdistill.errors import ConfigError


def embed_in_parts(encoder: nn.Module, items: Tensor, size: int, *, batch_norm: str = "refuse") -> Tensor:
    """``encoder(items)`` with the activations of ``size`` items in memory at a time; values and gradients are exact.

    Args:
        encoder: maps ``(b, *shape)`` to ``(b, d)``, each item by itself but for batch normalisation.
        items: ``(B, *shape)``.
        size: of a part.
        batch_norm: what to do about layers that normalise with the statistics of their batch, which in parts are those
            of a part: "refuse" them, or normalise "per_part". The latter is another network than the one in whole
            batches, whose gradients are exact; its running statistics are updated once a part.

    Returns:
        ``(B, d)``.

    Raises:
        ConfigError: there are such layers in training mode, and they are refused.
    """
    if len(items) <= size:
        embedded: Tensor = encoder(items)
        return embedded
    norms = [
        layer
        for layer in encoder.modules()
        if isinstance(layer, _BatchNorm) and (layer.training or not layer.track_running_stats)
    ]
    if norms and batch_norm == "refuse":
        raise ConfigError(
            "Gradient caching would change what batch normalisation computes.",
            where="train.embed_at_once",
            expected="a student without batch normalisation (such as vit_tiny_patch16_224 or convnext_atto)",
            received=f"{len(norms)} layers of {type(norms[0]).__name__}, batches of {len(items)} in parts of {size}",
            fix="leave train.embed_at_once out, or set train.batch_norm: per_part to normalise each part on its own",
        )
    if not torch.is_grad_enabled():
        return torch.cat([encoder(part) for part in torch.split(items, size)])

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _unmoved(norms)

    parts = [
        checkpoint(encoder, part, use_reentrant=False, preserve_rng_state=True, context_fn=contexts)
        for part in torch.split(items, size)
    ]
    return torch.cat(parts)


@contextmanager
def _unmoved(norms: list[_BatchNorm]) -> Iterator[None]:
    """The second pass over a part must not move the running statistics a second time."""
    kept = [(layer, [buffer.clone() for buffer in layer.buffers()]) for layer in norms]
    try:
        yield
    finally:
        with torch.no_grad():
            for layer, buffers in kept:
                for buffer, before in zip(layer.buffers(), buffers, strict=True):
                    buffer.copy_(before)
