"""Rows of embeddings: their arithmetic type, their length, and the checks on what an objective is given."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from crossdistill.errors import ConfigError

# Rows shorter than this are left short instead of being blown up. Norms are taken in float32 (PyTorch's default of
# 1e-12 is 0 in half precision); for half inputs the bound is higher, because the gradient, which is up to 1/epsilon
# times larger than that of the unit row, goes back to them in half precision, where it must stay below 65,504; and
# the entries of shorter rows are close to the smallest that half precision can tell apart.
_EPSILON = {torch.float16: 1e-2}
_EPSILON_OTHERWISE = 1e-6


def epsilon_of(dtype: torch.dtype) -> float:
    """The length below which a row of this type counts as zero."""
    return _EPSILON.get(dtype, _EPSILON_OTHERWISE)


def exact(embeddings: Tensor) -> Tensor:
    """In the type that objectives compute in: float64 stays, every other floating type becomes float32.

    Gradients that go back to float16 are kept within its range.
    """
    if embeddings.dtype == torch.float16:
        widened: Tensor = _FromHalf.apply(embeddings)
        return widened
    return embeddings if embeddings.dtype == torch.float64 else embeddings.float()


class _UnitRows(torch.autograd.Function):
    """Keeps the rows, their unit rows and their lengths for the backward pass; autograd would keep more."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, epsilon: float) -> Tensor:
        length = _lengths(values)
        short = length < epsilon
        length = length.clamp(min=epsilon)
        unit: Tensor = values / length
        ctx.save_for_backward(values, unit, length, short)
        ctx.epsilon = epsilon
        return unit

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        values, unit, length, short = ctx.saved_tensors
        if torch.is_grad_enabled():  # a second derivative is wanted: of a length that autograd knows
            (result,) = torch.autograd.grad(
                values / _lengths(values).clamp(min=ctx.epsilon), values, gradient, create_graph=True
            )
            return result, None
        along = torch.einsum("bd,bd->b", unit, gradient)[:, None].masked_fill(short, 0.0)  # short rows are only divided
        return torch.addcmul(gradient, unit, -along).div_(length), None


def _lengths(values: Tensor) -> Tensor:
    """``(B, d)`` to ``(B, 1)``. The square of a huge value is no float32 any more, so that it is scaled down first."""
    length: Tensor = torch.linalg.vector_norm(values, dim=1, keepdim=True)
    huge = torch.isinf(length)
    if length.device.type == "cpu" and not bool(huge.any()):  # elsewhere this question would wait for the device
        return length
    largest = values.detach().abs().amax(dim=1, keepdim=True).clamp(min=1.0)
    return torch.where(huge, torch.linalg.vector_norm(values / largest, dim=1, keepdim=True) * largest, length)


class _FromHalf(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return values.float()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        limit = torch.finfo(torch.float16).max
        return gradient.clamp(-limit, limit).half()


def unit_rows(embeddings: Tensor, epsilon: float | None = None) -> Tensor:
    """``(B, d)`` in any floating type to rows of length one; zero rows stay zero, with finite gradients.

    Args:
        embeddings: ``(B, d)``.
        epsilon: rows shorter than this are divided by it instead of by their length; by their type if left out.
    """
    epsilon = epsilon_of(embeddings.dtype) if epsilon is None else epsilon
    values = exact(embeddings)
    unit: Tensor = _UnitRows.apply(values, epsilon)
    return unit


def check_shapes(student: Tensor, teacher: Tensor, *, name: str) -> None:
    """Refuses anything but two floating ``(B, d)`` tensors of one shape with at least one column."""
    for side, rows in (("student", student), ("teacher", teacher)):
        if rows.ndim != 2 or not rows.is_floating_point() or rows.shape[1] == 0:
            raise ValueError(
                f"{name} takes floating {side} embeddings of shape (B, d); received {rows.dtype} {tuple(rows.shape)}"
            )
    if student.shape != teacher.shape:
        raise ValueError(
            f"{name} takes student and teacher embeddings of one shape (B, d); received {tuple(student.shape)} and "
            f"{tuple(teacher.shape)}. A projection head brings the student to the teacher's width."
        )


def check_ids(ids: Tensor | NDArray[np.integer] | Sequence[int], count: int, *, name: str) -> Tensor:
    """Identities ``(count,)`` as int64.

    Raises:
        ValueError: they are no integers, or not as many as there are rows.
    """
    checked = torch.as_tensor(ids)
    if checked.is_floating_point() or checked.is_complex() or checked.dtype == torch.bool:
        raise ValueError(f"{name} takes ids that are integers; received {checked.dtype}")
    if checked.shape != (count,):
        raise ValueError(f"{name} takes ids of shape ({count},); received {tuple(checked.shape)}")
    return checked.long()


def check_positive(value: float, *, what: str, name: str) -> float:
    """Refuses a setting that is not finite and above zero.

    Raises:
        ConfigError: it is not.
    """
    if not (math.isfinite(value) and value > 0):
        raise ConfigError(f"The {what} must be positive and finite.", where=f"objective {name}", received=value)
    return value


def check_weight(value: float, *, what: str, name: str) -> float:
    """Refuses a weight that is not finite, or that would make the loss something to maximise."""
    if not (math.isfinite(value) and value >= 0):
        raise ConfigError(f"The {what} must be finite and not negative.", where=f"objective {name}", received=value)
    return value


def check_choice(value: str, choices: Any, *, what: str, name: str) -> None:
    """Refuses what is none of a ``Literal``'s values.

    Raises:
        ConfigError: it is not.
    """
    if value not in get_args(choices):
        raise ConfigError(
            f"Unknown {what}.", where=f"objective {name}", expected=" or ".join(get_args(choices)), received=value
        )
