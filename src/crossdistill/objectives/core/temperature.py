"""The temperature of a contrastive objective, fixed or learnt."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from crossdistill.errors import ConfigError
from crossdistill.objectives.core.rows import check_positive

LARGEST_SCALE = 100.0  # as in CLIP, arXiv 2103.00020, section 2.5: "clipped to prevent scaling the logits by more"


class Temperature(nn.Module):
    """Called, it gives the factor ``1/tau`` that cosines are multiplied with, a scalar tensor.

    Args:
        temperature: tau, or where it starts.
        learnable: whether log(1/tau) is a parameter; 1/tau is then kept at or below 100.
        name: of the objective, for messages.
    """

    def __init__(self, temperature: float, *, learnable: bool = False, name: str) -> None:
        super().__init__()
        self.learnable = learnable
        self.initial = 1 / check_positive(temperature, what="temperature", name=name)
        if learnable and self.initial > LARGEST_SCALE:
            raise ConfigError("A learnable temperature starts at 0.01 or above.", where=f"objective {name}",
                              received=temperature)  # fmt: skip
        self.log_scale = nn.Parameter(torch.tensor(math.log(self.initial))) if learnable else None

    def forward(self, like: Tensor) -> Tensor:
        """``1/tau`` in the type and on the device of ``like``."""
        if self.log_scale is None:
            return torch.tensor(self.initial, dtype=like.dtype, device=like.device)
        with torch.no_grad():
            self.log_scale.clamp_(max=math.log(LARGEST_SCALE))  # the parameter itself: it can come down again
        return self.log_scale.to(like).exp()

    def extra_repr(self) -> str:
        """For printing."""
        return f"temperature={1 / self.initial:g}, learnable={self.learnable}"
