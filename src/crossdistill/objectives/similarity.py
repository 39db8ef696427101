"""What the contrastive objectives share: unit rows, and log-softmax over cosine similarities."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from crossdistill.errors import ConfigError

# Rows shorter than this are left short instead of being blown up. Norms are taken in float32 (PyTorch's default of
# 1e-12 is 0 in half precision); for half inputs the bound is higher, because the gradient, which is up to 1/epsilon
# times larger than that of the unit row, goes back to them in half precision, where it must stay below 65,504.
EPSILON = {torch.float16: 1e-3}
_EPSILON_OTHERWISE = 1e-6


def unit_rows(embeddings: Tensor) -> Tensor:
    """``(B, d)`` in any floating type to float32 rows of length one; zero rows stay zero, with finite gradients."""
    return F.normalize(embeddings.float(), dim=1, eps=EPSILON.get(embeddings.dtype, _EPSILON_OTHERWISE))


def same_item(ids: Tensor | None, count: int, device: torch.device) -> Tensor:
    """``(B, B)`` mask of pairs that show the same source item: the diagonal, and equal ``ids`` ``(B,)`` if given."""
    if ids is None:
        return torch.eye(count, dtype=torch.bool, device=device)
    return ids[:, None] == ids[None, :]


def log_distribution(logits: Tensor, excluded: Tensor) -> Tensor:
    """Row-wise log-softmax ``(B, C)`` over the columns that are not ``excluded`` ``(B, C)``; -inf elsewhere.

    A row without any candidate left gives -inf everywhere instead of NaN.
    """
    masked = logits.masked_fill(excluded, float("-inf"))
    none_left = excluded.all(dim=1, keepdim=True)
    return torch.where(none_left, float("-inf"), masked.masked_fill(none_left, 0.0).log_softmax(dim=1))


def check_shapes(student: Tensor, teacher: Tensor, ids: Tensor | None = None, *, name: str) -> None:
    """Refuses anything but two ``(B, d)`` tensors of one shape and, if given, ``(B,)`` ids."""
    if student.ndim != 2 or student.shape != teacher.shape:
        raise ValueError(
            f"{name} takes student and teacher embeddings of one shape (B, d); received {tuple(student.shape)} and "
            f"{tuple(teacher.shape)}. A projection head brings the student to the teacher's width."
        )
    if ids is not None and ids.shape != student.shape[:1]:
        raise ValueError(f"{name} takes ids of shape ({student.shape[0]},); received {tuple(ids.shape)}")


def check_temperature(temperature: float, *, name: str) -> float:
    """A temperature must be positive."""
    if not temperature > 0:
        raise ConfigError("A temperature must be positive.", where=f"objective {name}", received=temperature)
    return temperature
