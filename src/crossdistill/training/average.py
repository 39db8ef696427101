"""A running average of the weights (EMA), which often generalises better than the last ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


class WeightAverage:
    """``average = decay * average + (1 - decay) * weights`` after each step, buffers included; begins with the first.

    Source: Polyak and Juditsky, 1992; used as in arXiv 1703.01780. The average itself is torch's AveragedModel.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._model = model
        self._average = AveragedModel(model, multi_avg_fn=_decayed(decay), use_buffers=True)

    def update(self) -> None:
        """After a step of the optimiser."""
        self._average.update_parameters(self._model)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Within the block, the model has the average's weights."""
        self.swap()
        try:
            yield
        finally:
            self.swap()

    @torch.no_grad()
    def swap(self) -> None:
        """Exchanges the model's weights and the average's."""
        for mine, averaged in zip(_tensors(self._model), _tensors(self._average.module), strict=True):
            mine.data, averaged.data = averaged.data, mine.data

    def state_dict(self) -> dict[str, Tensor]:
        """Of the average."""
        return dict(self._average.state_dict())

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Goes on from a saved average."""
        self._average.load_state_dict(state)


def _decayed(decay: float) -> Any:
    return get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]  # untyped in torch


def _tensors(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(), *module.buffers()]
