"""AdamW with decay on matrices alone, slower layers where wanted, and the learning rate as a function of the step."""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from timm.optim import param_groups_layer_decay  # type: ignore[attr-defined]  # not in its __all__
from torch import nn
from torch.distributed.tensor import DTensor
from torch.nn.modules.batchnorm import _BatchNorm

from crossdistill.encoders import without_detail
from crossdistill.errors import ConfigError, nearest
from crossdistill.training.config import TrainConfig


def build_optimiser(
    model: nn.Module, config: TrainConfig, *, fused: bool = False, scales: Mapping[str, float] | None = None
) -> torch.optim.AdamW:
    """AdamW (arXiv 1711.05101); biases and normalisation scales are not decayed.

    Each group has an ``lr_scale``, by which :func:`learning_rate` is multiplied for it: 1, but in a backbone with
    ``config.layer_decay``, where it falls from layer to layer towards the input (arXiv 2003.10555); times the factor
    in ``scales`` of the beginning of a parameter's name.
    """
    groups: list[dict[str, Any]] = []
    taken: set[int] = set()
    if config.layer_decay is not None:
        for backbone in _backbones(model):
            groups += _layered(backbone, config, config.layer_decay)
        taken = {id(parameter) for group in groups for parameter in group["params"]}
    rest = [parameter for parameter in model.parameters() if parameter.requires_grad and id(parameter) not in taken]
    groups += [
        {"params": [p for p in rest if p.ndim > 1], "weight_decay": config.weight_decay, "lr_scale": 1.0},
        {"params": [p for p in rest if p.ndim <= 1], "weight_decay": 0.0, "lr_scale": 1.0},
    ]
    if scales:
        groups = [part for group in groups for part in _scaled(group, model, scales)]
    # Parameters that are spread over ranks are not updated in one call with others.
    parts = [
        {**group, "params": chosen}
        for group in groups
        for spread in (False, True)
        if (chosen := [value for value in group["params"] if isinstance(value, DTensor) is spread])
    ]
    return torch.optim.AdamW(parts, lr=config.lr, fused=fused)


def _scaled(group: dict[str, Any], model: nn.Module, scales: Mapping[str, float]) -> list[dict[str, Any]]:
    """A group in parts of one factor each."""
    factor = {
        id(value): next((scales[start] for start in scales if name.startswith(start)), 1.0)
        for name, value in model.named_parameters()
    }
    return [
        {**group, "params": [each for each in group["params"] if factor[id(each)] == one],
         "lr_scale": group["lr_scale"] * one}
        for one in sorted({factor[id(each)] for each in group["params"]})
    ]  # fmt: skip


def _backbones(model: nn.Module) -> Iterator[nn.Module]:
    for module in model.modules():
        backbone = getattr(module, "backbone", None)
        if isinstance(backbone, nn.Module):
            yield backbone


def _layered(backbone: nn.Module, config: TrainConfig, decay: float) -> list[dict[str, Any]]:
    backbone = without_detail(backbone)
    if not hasattr(backbone, "group_matcher"):
        raise ConfigError(
            "This backbone does not say what its layers are.", where="train.layer_decay",
            expected="a backbone of timm", received=type(backbone).__name__, fix="leave layer_decay out",
        )  # fmt: skip
    found: list[dict[str, Any]] = param_groups_layer_decay(backbone, config.weight_decay, layer_decay=decay)
    return [{key: group[key] for key in ("params", "weight_decay", "lr_scale")} for group in found]


def learning_rate(step: int, total: int, config: TrainConfig) -> float:
    """Linear warm-up to ``config.lr``; then half a cosine down to zero (arXiv 1608.03983), a line to zero, or constant.

    Args:
        step: 0-based.
        total: number of steps.
    """
    warmup = round(config.warmup * total)
    if step < warmup:
        return config.lr * (step + 1) / warmup
    progress = (step - warmup) / max(1, total - warmup)
    if config.schedule == "constant":
        return config.lr
    if config.schedule == "linear":
        return config.lr * (1 - progress)
    return config.lr * 0.5 * (1 + math.cos(math.pi * progress))


class Freezer:
    """Parameters that stay as they are, for good or for the first epochs.

    They are named as in the encoder: ``backbone.*`` and ``head.*``, with wildcards. A frozen batch normalisation keeps
    its running statistics too.
    """

    def __init__(self, model: nn.Module, config: TrainConfig) -> None:
        names = {_short(name): parameter for name, parameter in model.named_parameters()}
        chosen = {name for pattern in config.freeze for name in fnmatch.filter(names, pattern)}
        for pattern in config.freeze:
            if not fnmatch.filter(names, pattern):
                raise ConfigError(
                    "There is no parameter of this name to freeze.", where="train.freeze", received=pattern,
                    expected="a name such as backbone.conv1.weight, or a pattern such as backbone.*",
                    fix=nearest(pattern, names),
                )  # fmt: skip
        self._epochs = config.freeze_epochs
        self._parameters = [names[name] for name in sorted(chosen) if names[name].requires_grad]
        self._norms = [
            layer
            for name, layer in model.named_modules()
            if isinstance(layer, _BatchNorm) and f"{_short(name)}.weight" in chosen
        ]
        if self._epochs is None:  # the optimiser never sees them
            for parameter in self._parameters:
                parameter.requires_grad_(False)

    def apply(self, epoch: int) -> None:
        """Before the steps of an epoch (0-based), and after the model was set to training mode."""
        frozen = self._epochs is None or epoch < self._epochs
        for layer in self._norms:
            layer.train(not frozen)

    def drop_gradients(self, epoch: int) -> None:
        """Before a step of the optimiser: without gradients it leaves the frozen ones, and their decay, alone."""
        if self._epochs is not None and epoch < self._epochs:
            for parameter in self._parameters:
                parameter.grad = None


def _short(name: str) -> str:
    """A parameter's name within its encoder, wherever the encoder lies in the model that is trained."""
    short = name.removeprefix("student.").removeprefix("encoder.")
    return short.replace("backbone.network.", "backbone.", 1)  # a network with detail beside it keeps its names
