"""Networks that do not fit on one device: parameters, gradients and optimiser state spread over the ranks (FSDP2).

Source: ZeRO, arXiv 1910.02054, as PyTorch's ``fully_shard``.
"""

from __future__ import annotations

import copy
import warnings

import torch
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from crossdistill import ranks
from crossdistill.errors import ConfigError
from crossdistill.training.config import TrainConfig


class Sharding:
    """An encoder's parameters over the ranks while it is trained.

    The encoder comes on the CPU and goes to the device block by block, so that no device ever holds all of it.

    Args:
        model: everything that is trained, on the CPU.
        encoder: the part of it that is spread; the rest is small and lies on every rank.
        device: of this rank.
    """

    def __init__(self, model: nn.Module, encoder: nn.Module, device: torch.device) -> None:
        self._model, self._encoder = model, encoder
        self._plain = copy.deepcopy(encoder)
        mesh = init_device_mesh(device.type, (ranks.world(),))
        # The parts are called one by one (features, then the head), so each is a root of its own.
        self._parts = [part for part in encoder.children() if any(True for _ in part.parameters())]
        for part in self._parts:
            for block in _blocks(part):
                fully_shard(block, mesh=mesh)
            fully_shard(part, mesh=mesh)
        model.to(device)  # the rest

    def exchange(self, now: bool) -> None:
        """Whether the next backward pass exchanges gradients, or adds them up here for a later one."""
        for part in self._parts:
            assert isinstance(part, FSDPModule)
            part.set_requires_gradient_sync(now)

    def average_rest(self) -> None:
        """After the last backward pass of a step: the gradients of what is not spread."""
        for parameter in self._model.parameters():
            if parameter.grad is not None and not isinstance(parameter.grad, DTensor):
                distributed.all_reduce(parameter.grad)
                parameter.grad /= ranks.world()

    def undo(self) -> None:
        """Puts the encoder together again, on the CPU of every rank."""
        self._plain.load_state_dict({name: whole(value).cpu() for name, value in self._encoder.state_dict().items()})
        for name, part in self._plain.named_children():
            setattr(self._encoder, name, part)


def _blocks(network: nn.Module) -> list[nn.Module]:
    """What is gathered at a time: the members of the network's lists of layers."""
    lists = [child for child in network.children() if isinstance(child, (nn.Sequential, nn.ModuleList))]
    return [block for each in lists for block in each if any(True for _ in block.parameters())]


def check_sharding(encoder: nn.Module, config: TrainConfig) -> None:
    """Refuses settings that do not go together with parameters that are spread.

    Raises:
        ConfigError: one of them is set.
    """
    other = {
        "ema": config.ema is not None, "keep: best": config.keep == "best",
        "precision: fp16": config.precision == "fp16", "compile": config.compile,
        "embed_at_once": config.embed_at_once is not None,
    }  # fmt: skip
    chosen = [name for name, set_ in other.items() if set_]
    if chosen:
        raise ConfigError(
            "A setting does not go together with parameters that are spread over processes.",
            where="train.parallel: fsdp", received=", ".join(chosen), fix="leave it out, or set parallel: ddp",
        )  # fmt: skip
    # Torch warns that outputs are views; nothing here changes them in place.
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")


def whole(value: Tensor) -> Tensor:
    """A tensor of which every rank may have only a part, as one; all ranks have to ask."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def divided_as(parameter: Tensor, value: Tensor) -> Tensor:
    """A whole tensor that belongs to a parameter, spread over the ranks as that is."""
    if not isinstance(parameter, DTensor) or value.shape != parameter.shape:
        return value
    return distribute_tensor(value.to(parameter.device), parameter.device_mesh, parameter.placements)
