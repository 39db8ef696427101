"""One step of training on one process, or on many through PyTorch's DistributedDataParallel."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from timm.layers import convert_sync_batchnorm  # type: ignore[attr-defined]  # not in its __all__
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from crossdistill import ranks
from crossdistill.errors import ConfigError
from crossdistill.training.sharding import Sharding
from crossdistill.training.shared_norm import SharedBatchNorm

Loss = Callable[..., Tensor]
"""Prepared tensors of a batch to a scalar loss."""


def share_norms(model: nn.Module, device: torch.device) -> None:
    """Makes batch normalisation on GPUs one of all ranks, before the optimiser; on CPUs :class:`ParallelStep` does."""
    if ranks.world() > 1 and device.type == "cuda":
        convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]  # untyped in timm


class _Step(nn.Module):
    """The loss as a module's forward pass: what DDP wraps, so that it knows every parameter behind it."""

    def __init__(self, model: nn.Module, loss: Loss) -> None:
        super().__init__()
        self.model = model
        self._loss = loss

    def forward(self, *prepared: Tensor) -> Tensor:
        return self._loss(*prepared)


def check_gradients(model: nn.Module) -> None:
    """After the first backward pass: several ranks exchange the gradients of all parameters, so each has to have one.

    Raises:
        ConfigError: some parameters that are to be trained take no part in the loss.
    """
    idle = [name for name, value in model.named_parameters() if value.requires_grad and value.grad is None]
    if idle:
        names = [name.removeprefix("student.").removeprefix("encoder.") for name in idle]
        raise ConfigError(
            "Some parameters take no part in the loss, which several processes need of all.", where=names[0],
            received=f"{len(idle)} parameters without a gradient",
            fix=f"freeze them: train.freeze={names[:3]}, or take requires_grad from them",
        )  # fmt: skip


class ParallelStep:
    """Calls ``loss`` so that its gradients, after the backward pass, are those of the whole batch on every rank.

    Batch normalisation takes the statistics of the whole batch: by torch's SyncBatchNorm on GPUs, by our own on CPUs.

    Args:
        model: everything that is trained, on ``device``.
        loss: uses it.
        device: of this rank.
        sharding: where the model is spread over the ranks, instead of DDP.
    """

    def __init__(self, model: nn.Module, loss: Loss, device: torch.device, sharding: Sharding | None = None) -> None:
        many = ranks.world() > 1
        self._sharding = sharding
        self._norm: AbstractContextManager[Any] = SharedBatchNorm() if many and device.type != "cuda" else nullcontext()
        self._ddp: DistributedDataParallel | None = None
        if many and sharding is None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # about a name that only the newest torch has
                # Every rank computes the same buffers itself, so that none has to be sent.
                self._ddp = DistributedDataParallel(
                    _Step(model, loss), broadcast_buffers=False, gradient_as_bucket_view=True
                )
        self._call: Callable[..., Tensor] = self._ddp if self._ddp is not None else loss

    def __call__(self, *prepared: Tensor) -> Tensor:
        """The loss of one batch."""
        return self._call(*prepared)

    @contextmanager
    def batch(self, more: bool) -> Iterator[None]:
        """Around a batch's forward and backward pass; with ``more`` to come, no gradients are exchanged yet."""
        waiting = self._ddp.no_sync() if more and self._ddp is not None else nullcontext()
        if self._sharding is not None:
            self._sharding.exchange(not more)
        with self._norm, waiting:  # gradient caching normalises in the backward pass, too
            yield
        if self._sharding is not None and not more:
            self._sharding.average_rest()
