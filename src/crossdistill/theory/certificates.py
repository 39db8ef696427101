"""Upper bounds of total variation and of retrieval errors by the values of the losses.

Each takes one value or an array of values, one an anchor, and returns the same. All are increasing; those that also
take a *mean* of the losses and then bound the mean are concave (Jensen), which docs/theory.md proves. Equation numbers
are those of docs/theory.md. What is not negative by definition may be negative by rounding, and counts as zero then.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from scipy.special import lambertw

from crossdistill.theory.finite import Floats
from crossdistill.theory.vectors import positive

Values = TypeVar("Values", float, Floats)

_ROUNDING = 1e-6  # how far below zero a loss computed in single precision may lie


def _checked(values: Values, *, what: str) -> Floats:
    found = np.asarray(values, dtype=np.float64)
    if np.isnan(found).any() or (found < -_ROUNDING).any():
        raise ValueError(f"{what}: expected numbers >= 0")
    return np.maximum(found, 0.0)


def _like(found: Floats, values: Values) -> Values:
    return float(found) if isinstance(values, (int, float)) else found


def pinsker(kl: Values) -> Values:
    """``TV <= sqrt(KL / 2)`` (Eq. 6), at most 1. Concave: also of means.

    Raises:
        ValueError: a divergence is negative or NaN.
    """
    return _like(np.minimum(np.sqrt(_checked(kl, what="kl") / 2), 1.0), kl)


def bretagnolle_huber(kl: Values) -> Values:
    """``TV <= sqrt(1 - exp(-KL))`` (Eq. 7), below 1 for any finite divergence. Concave: also of means.

    Raises:
        ValueError: a divergence is negative or NaN.
    """
    return _like(np.sqrt(-np.expm1(-_checked(kl, what="kl"))), kl)


def kl_certificate(kl: Values) -> Values:
    """The better of :func:`pinsker` and :func:`bretagnolle_huber` (Eq. 9). Concave: also of means.

    Raises:
        ValueError: a divergence is negative or NaN.
    """
    return _like(np.minimum(_checked(pinsker(kl), what="kl"), bretagnolle_huber(kl)), kl)


CROSSING = float(2 + lambertw(-2 * np.exp(-2.0)).real)
"""The divergence (1.594 nats, Eq. 8) below which Pinsker's bound is the better one, and above which it is not."""


def softmax_tv(delta: Values) -> Values:
    """``TV(softmax a, softmax b) <= tanh(delta / 2)`` if all logits agree within delta (Eq. 10). Concave.

    Raises:
        ValueError: a difference is negative or NaN.
    """
    return _like(np.tanh(_checked(delta, what="delta") / 2), delta)


def softmax_kl(delta: Values) -> Values:
    """``KL(softmax a || softmax b) <= delta^2 / 2`` if all logits agree within delta (Eq. 11). Convex.

    Raises:
        ValueError: a difference is negative or NaN.
    """
    return _like(_checked(delta, what="delta") ** 2 / 2, delta)


def logit_shift(
    errors: Floats,
    *,
    temperature: float,
    source_temperature: float | None = None,
    candidate_errors: Floats | float = 0.0,
) -> Floats:
    """By how much an anchor's logits can differ between the modalities (Eq. 12 and 14), ``(n,)``.

    ``(eps_i + eps_C) / tau_B + |1/tau_B - 1/tau_A|``, for vectors of at most unit length.

    Args:
        errors: ``eps_i = |z_i^B - z_i^A|`` of the anchors ``(n,)``.
        temperature: tau_B.
        source_temperature: tau_A; the same by default.
        candidate_errors: the largest ``eps_j`` of an anchor's candidates, ``(n,)`` or one number. 0 for ``to_teacher``,
            whose candidates are the teacher's own.

    Raises:
        ValueError: a temperature is not positive, or an error is negative or NaN.
    """
    scale = 1 / positive(temperature, what="temperature")
    source_scale = scale if source_temperature is None else 1 / positive(source_temperature, what="source_temperature")
    both = _checked(errors, what="errors") + _checked(np.asarray(candidate_errors), what="candidate_errors")
    found: Floats = both * scale + abs(scale - source_scale)
    return found


def l2_certificate(mean_square: Values, *, temperature: float) -> Values:
    """Mean TV of the ``to_teacher`` form by the L2 loss: ``tanh(sqrt(mean eps^2) / (2 tau))`` (Eq. 13).

    Args:
        mean_square: the loss ``1/n sum_i |z_i^B - z_i^A|^2`` between unit vectors.
        temperature: tau, of both modalities.

    Raises:
        ValueError: the loss is negative or NaN, or the temperature is not positive.
    """
    size = np.sqrt(_checked(mean_square, what="mean_square"))
    return _like(np.tanh(size / (2 * positive(temperature, what="temperature"))), mean_square)


def cmc_certificate(cmc: Values) -> Values:
    """``1 - exp(-CMC)``: the TV of ``q(.|i)``, own column included, from the point mass on the partner (Eq. 15, 16).

    Equal to it for one anchor; concave, so that the mean loss bounds the mean. For the one direction, student to
    teacher: of the symmetric loss twice the value counts.

    Raises:
        ValueError: a loss is negative or NaN.
    """
    return _like(-np.expm1(-_checked(cmc, what="cmc")), cmc)


def retrieval_error_bound(cmc: Values, k: int = 1) -> Values:
    """Share of anchors whose partner is not among the k nearest: at most ``CMC / log(k + 1)`` (Eq. 17), at most 1.

    Over the candidates that the loss was taken over, ties counted against the anchor. Of a mean loss: bounds the mean.

    Raises:
        ValueError: a loss is negative or NaN, or k < 1.
    """
    if k < 1:
        raise ValueError(f"k: expected at least 1, received {k}")
    return _like(np.minimum(_checked(cmc, what="cmc") / np.log(k + 1), 1.0), cmc)


def partner_triangle(partner_target: Values, partner_source: Values) -> Values:
    """``TV(q_i, p_i) <= (1 - q(i|i)) + (1 - p(i|i))``, own column included in both (Eq. 18), at most 1.

    Raises:
        ValueError: a probability is negative or NaN.
    """
    apart = 2 - _checked(partner_target, what="partner_target") - _checked(partner_source, what="partner_source")
    return _like(np.clip(apart, 0.0, 1.0), partner_target)


def mutual_information_bound(cmc: float, candidates: int) -> float:
    """``I(A; B) >= log N - E CMC`` in nats, at least 0 (Eq. 19; arXiv 1807.03748). No more than ``log N`` ever.

    Holds for the *expected* loss of N independent and identically distributed pairs, given encoders that were not
    fitted to them. A measured loss estimates that expectation: the number is an estimate of a bound.

    Raises:
        ValueError: the loss is negative or NaN, or there are no candidates.
    """
    if candidates < 1:
        raise ValueError(f"candidates: expected at least 1, received {candidates}")
    return max(0.0, float(np.log(candidates) - _checked(cmc, what="cmc")))
