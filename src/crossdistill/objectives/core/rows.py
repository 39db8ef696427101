"""Rows of embeddings: their arithmetic type, their length, and the checks on what an objective is given."""

from __future__ import annotations

from typing import Any

import torch
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
    """Keeps the unit rows and the lengths alone for the backward pass; a norm of autograd's own keeps three copies."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, epsilon: float) -> Tensor:
        length = torch.linalg.vector_norm(values, dim=1, keepdim=True)
        huge = torch.isinf(length)
        if bool(huge.any()):  # the square of a huge value is no float32 any more: take the length of smaller ones
            largest = values.abs().amax(dim=1, keepdim=True).clamp(min=1.0)
            length = torch.where(
                huge, torch.linalg.vector_norm(values / largest, dim=1, keepdim=True) * largest, length
            )
        short = length < epsilon
        length = length.clamp(min=epsilon)
        unit: Tensor = values / length
        ctx.save_for_backward(unit, length, short)
        return unit

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        unit, length, short = ctx.saved_tensors
        along = torch.einsum("bd,bd->b", unit, gradient)[:, None].masked_fill(short, 0.0)  # short rows are only divided
        return torch.addcmul(gradient, unit, -along).div_(length), None


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


def check_shapes(student: Tensor, teacher: Tensor, ids: Tensor | None = None, *, name: str) -> None:
    """Refuses anything but two ``(B, d)`` tensors of one shape and, if given, ``(B,)`` ids."""
    if student.ndim != 2 or student.shape != teacher.shape:
        raise ValueError(
            f"{name} takes student and teacher embeddings of one shape (B, d); received {tuple(student.shape)} and "
            f"{tuple(teacher.shape)}. A projection head brings the student to the teacher's width."
        )
    if ids is not None and ids.shape != student.shape[:1]:
        raise ValueError(f"{name} takes ids of shape ({student.shape[0]},); received {tuple(ids.shape)}")


def check_positive(value: float, *, what: str, name: str) -> float:
    """Refuses a setting that is not above zero.

    Raises:
        ConfigError: it is zero, negative or no number.
    """
    if not value > 0:
        raise ConfigError(f"The {what} must be positive.", where=f"objective {name}", received=value)
    return value
