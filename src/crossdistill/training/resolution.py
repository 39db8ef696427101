"""Staged resolution: smaller pictures in the beginning of a training, which cost less."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from crossdistill.errors import ConfigError
from crossdistill.pairs.items import Items
from crossdistill.training.config import TrainConfig


def check_resolutions(network: nn.Module, items: Items, config: TrainConfig) -> None:
    """Refuses sizes that the items or the network cannot have, before anything is computed.

    Raises:
        ConfigError: these are no pictures, the size is no smaller one, or the network is built for one size.
    """
    shape = items.modality.shape
    device = next((parameter.device for parameter in network.parameters()), None)
    for number, each in enumerate(config.resolution):
        where = f"train.resolution[{number}].size"
        if len(shape) != 3:
            raise ConfigError("Only pictures can be made smaller.", where=where, expected="items of shape (C, H, W)",
                              received=shape)  # fmt: skip
        if each.size > shape[-1]:
            raise ConfigError("A size of the beginning is larger than the items.", where=where,
                              expected=f"at most {shape[-1]}", received=each.size)  # fmt: skip
        training = network.training
        try:
            with torch.no_grad():
                network.eval()(torch.zeros(2, shape[0], each.size, each.size, device=device))
        except Exception as error:  # a network may raise anything; whatever it is, the size did not fit
            raise ConfigError(
                "The student cannot take items of this size.", where=where, received=each.size,
                expected="a network for any size, such as resnet18 (transformers are built for one)",
            ) from error  # fmt: skip
        finally:
            network.train(training)


def resized(prepared: tuple[Tensor, ...], size: int | None) -> tuple[Tensor, ...]:
    """The same with the items ``(B, C, H, W)``, which come first, of side ``size``; None leaves them as they are."""
    items, *rest = prepared
    if size is None or size == items.shape[-1]:
        return prepared
    scale = size / items.shape[-1]
    small = F.interpolate(
        items, size=(round(items.shape[-2] * scale), size), mode="bilinear", antialias=True, align_corners=False
    )
    return (small, *rest)
