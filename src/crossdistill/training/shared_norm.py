"""Batch normalisation with the statistics of the whole batch, which is spread over ranks.

torch's SyncBatchNorm needs a GPU; this does the same on a CPU, for every layer that calls ``F.batch_norm`` (torch's and
timm's alike), so that a run on several processes computes what a run on one does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Self

import torch
from torch import Tensor, distributed
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode


class SharedBatchNorm(TorchFunctionMode):
    """Within the block, batch normalisation in training mode takes the statistics of all ranks' rows together."""

    _open = 0  # blocks

    def __enter__(self) -> Self:
        SharedBatchNorm._open += 1
        super().__enter__()  # type: ignore[no-untyped-call]  # untyped in torch
        return self

    def __exit__(self, *error: object) -> None:
        SharedBatchNorm._open -= 1
        super().__exit__(*error)  # type: ignore[no-untyped-call]  # untyped in torch

    @classmethod
    def again(cls) -> AbstractContextManager[object]:
        """For what is computed once more in a backward pass: torch leaves its modes while it goes through one."""
        return cls() if cls._open else nullcontext()

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Takes the place of ``F.batch_norm``; everything else goes through."""
        if func is F.batch_norm:
            return _batch_norm(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _batch_norm(
    values: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    if not training:
        return torch.batch_norm(values, weight, bias, running_mean, running_var, False, momentum, eps, False)
    weight = values.new_ones(values.shape[1]) if weight is None else weight
    bias = values.new_zeros(values.shape[1]) if bias is None else bias
    normalised, mean, variance, count = _Shared.apply(values, weight, bias, eps)
    if running_mean is not None and running_var is not None:
        with torch.no_grad():
            running_mean.lerp_(mean, momentum)
            running_var.lerp_(variance * (count / (count - 1).clamp(min=1)), momentum)
    shared: Tensor = normalised
    return shared


class _Shared(torch.autograd.Function):
    """Normalised values ``(B, C, ...)``, and mean, biased variance and number of values of a channel, of all ranks."""

    @staticmethod
    def forward(
        ctx: Any, values: Tensor, weight: Tensor, bias: Tensor, eps: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        exact = values if values.dtype == torch.float64 else values.float()
        here = torch.tensor(float(values.numel() // values.shape[1]), dtype=torch.float64)
        # The kernel of batch normalisation itself: many times as fast as var_mean, above all with channels last.
        mean, variance = torch.batch_norm_update_stats(exact, None, None, 0.0) if len(values) else (
            exact.new_zeros(values.shape[1]), exact.new_zeros(values.shape[1])
        )  # fmt: skip
        # The parts' moments are put together in float64: what is left differs from one process by rounding alone.
        moments = torch.cat([mean.double() * here, (variance.double() + mean.double() ** 2) * here, here[None]])
        distributed.all_reduce(moments)
        count = moments[-1]
        mean, square = (moments[:-1] / count).chunk(2)
        variance = (square - mean**2).clamp(min=0)
        mean, variance = mean.to(exact.dtype), variance.to(exact.dtype)
        ctx.save_for_backward(values, weight, mean, variance, count)
        ctx.eps = eps
        normalised = torch.batch_norm(values, weight, bias, mean, variance, False, 0.0, eps, False)
        ctx.mark_non_differentiable(mean, variance, count)
        return normalised, mean, variance, count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor | None, Tensor, Tensor, None]:
        values, weight, mean, variance, count = ctx.saved_tensors
        inverse = (variance + ctx.eps).rsqrt()
        # With given statistics the fused kernel has what is needed: the sums of dy and of dy times normalised values.
        _, scaled, summed = torch.ops.aten.native_batch_norm_backward(
            gradient, values, weight, mean, variance, mean, inverse, False, ctx.eps, [False, True, True]
        )
        sums = torch.stack([summed, scaled]).double()
        distributed.all_reduce(sums)
        mean_gradient, mean_scaled = (sums / count).to(mean.dtype)
        shape = [1, -1] + [1] * (values.ndim - 2)
        # dx = w / s * (dy - mean(dy) - xhat * mean(dy * xhat)), sorted by what is multiplied with dy, x and 1.
        of_gradient = weight.to(mean) * inverse
        of_value = -of_gradient * inverse * mean_scaled
        constant = -of_gradient * mean_gradient - of_value * mean
        wanted = (gradient * of_gradient.view(shape).to(gradient)).addcmul_(values, of_value.view(shape).to(gradient))
        return wanted.add_(constant.view(shape).to(gradient)), scaled.to(weight), summed.to(weight), None
