"""InfoNCE between two augmented views of the same items: the objective of stage 1."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from crossdistill.objectives.similarity import check_shapes, check_temperature, unit_rows


class InfoNCE(nn.Module):
    """NT-Xent over ``2B`` views: each view must find the other view of its item among all ``2B - 1`` others.

    Source: SimCLR, arXiv 2002.05709, equation 1.

    Args:
        temperature: tau.
    """

    def __init__(self, temperature: float = 0.2) -> None:
        super().__init__()
        self.temperature = check_temperature(temperature, name="info_nce")

    def forward(self, first: Tensor, second: Tensor, ids: Tensor | None = None) -> Tensor:
        """First views ``(B, d)``, second views ``(B, d)`` to a scalar; ``ids`` are not needed."""
        check_shapes(first, second, ids, name="info_nce")
        views = unit_rows(torch.cat([first, second]))
        logits = views @ views.T / self.temperature
        logits = logits.masked_fill(torch.eye(len(views), dtype=torch.bool, device=views.device), float("-inf"))
        count = len(first)
        partner = torch.arange(2 * count, device=views.device).roll(count)
        return nn.functional.cross_entropy(logits, partner)


OBJECTIVE = InfoNCE
