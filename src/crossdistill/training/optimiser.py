"""AdamW with decay on matrices alone, and the learning rate as a function of the step."""

from __future__ import annotations

import math

import torch
from torch import nn

from crossdistill.training.config import TrainConfig


def build_optimiser(model: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW (arXiv 1711.05101); biases and normalisation scales are not decayed."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=config.lr)


def learning_rate(step: int, total: int, config: TrainConfig) -> float:
    """Linear warm-up to ``config.lr``, then half a cosine down to zero (arXiv 1608.03983).

    Args:
        step: 0-based.
        total: number of steps.
    """
    warmup = round(config.warmup * total)
    if step < warmup:
        return config.lr * (step + 1) / warmup
    progress = (step - warmup) / max(1, total - warmup)
    return config.lr * 0.5 * (1 + math.cos(math.pi * progress))
