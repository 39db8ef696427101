"""Columns instead of the whole bank: losses and gradients of CMC, student to teacher, from a part of the columns.

For row i with logits ``l_ij = <s_i, t_j> / tau`` the exact loss is ``log(exp(l_ii) + Z_i) - l_ii`` with
``Z_i = sum_{j != i} exp(l_ij)``. What stands here puts an estimate in the place of Z_i:

    subset        S of M columns, uniformly without replacement and the same for all rows:
                  ``(N - 1) / |S \\ {i}| * sum_{j in S, j != i} exp(l_ij)``, whose mean is Z_i; without the factor (in
                  logits: ``+ log(N / M)``) it is that of a smaller bank
    nearest       ``sum_{j in K_i} exp(l_ij)`` over k columns of each row, which is below Z_i
    nearest and remainder
                  the same plus ``(N - 1 - k) / |S \\ (K_i + {i})| * sum_{j in S, not in K_i, j != i} exp(l_ij)``, whose
                  mean is Z_i

The logarithm of an unbiased estimate lies below on average (Jensen), by about half its relative variance; so the loss
and the softmax have a small bias where Z's estimate has none. Sampled softmax: Bengio and Senecal 2008, arXiv
1412.2007.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Case(NamedTuple):
    """Some rows against all columns.

    Attributes:
        rows: unit rows of the student ``(B, d)``.
        columns: unit rows of the teacher ``(N, d)``.
        own: number of each row's own column ``(B,)``.
        logits: ``(B, N)``, the own ones minus infinity.
        own_logits: ``(B,)``.
        temperature: tau.
    """

    rows: Tensor
    columns: Tensor
    own: Tensor
    logits: Tensor
    own_logits: Tensor
    temperature: float

    @classmethod
    def of(cls, rows: Tensor, columns: Tensor, own: Tensor, temperature: float) -> Case:
        """The logits of unit rows ``(B, d)`` and columns ``(N, d)``."""
        logits = rows @ columns.T / temperature
        own_logits = logits.gather(1, own[:, None])[:, 0].clone()
        logits.scatter_(1, own[:, None], float("-inf"))
        return cls(rows, columns, own, logits, own_logits, temperature)


class Estimate(NamedTuple):
    """Losses ``(B,)``, gradients by the unit rows ``(B, d)``, and the logarithm of Z's estimate ``(B,)``."""

    losses: Tensor
    gradients: Tensor
    log_total: Tensor


def _contrast(case: Case, logits: Tensor, columns: Tensor) -> Estimate:
    """From weighted logits ``(B, m)`` of columns ``(m, d)``."""
    log_total = logits.logsumexp(dim=1)
    whole = torch.logaddexp(log_total, case.own_logits)
    mean = (logits - whole[:, None]).exp() @ columns
    own = (case.own_logits - whole).exp() - 1
    gradients = mean.addcmul_(case.columns[case.own], own[:, None]) / case.temperature
    return Estimate(whole - case.own_logits, gradients, log_total)


def exact(case: Case) -> Estimate:
    """All columns."""
    return _contrast(case, case.logits, case.columns)


def subset(case: Case, chosen: Tensor, *, corrected: bool) -> Estimate:
    """The columns ``chosen`` ``(M,)``; with the correction of their number or without."""
    logits = case.logits[:, chosen]
    if corrected:
        others = len(chosen) - (case.own[:, None] == chosen[None, :]).sum(dim=1)
        logits = logits + torch.log((len(case.columns) - 1) / others.to(logits))[:, None]
    return _contrast(case, logits, case.columns[chosen])


def nearest(case: Case, neighbours: Tensor, remainder: Tensor | None = None) -> Estimate:
    """The columns ``neighbours`` ``(B, k)`` of each row, none its own, and a random ``remainder`` ``(M,)`` for all."""
    weights = torch.full_like(case.logits, float("-inf"))
    if remainder is not None:
        kept = torch.zeros_like(case.logits, dtype=torch.bool)
        kept[:, remainder] = True
        kept.scatter_(1, neighbours, False).scatter_(1, case.own[:, None], False)
        rest = len(case.columns) - 1 - neighbours.shape[1]
        factor = torch.log(rest / kept.sum(dim=1).to(weights))
        weights = torch.where(kept, factor[:, None], weights)
    weights.scatter_(1, neighbours, 0.0)
    return _contrast(case, weights.add_(case.logits), case.columns)


def tangent(rows: Tensor, gradients: Tensor) -> Tensor:
    """The part of gradients ``(B, d)`` that unit rows can follow."""
    return gradients - rows * (rows * gradients).sum(dim=1, keepdim=True)
