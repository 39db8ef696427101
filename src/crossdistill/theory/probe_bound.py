"""How a linear probe does on items that it has not seen: two certificates from labelled items.

Equation numbers are those of docs/theory.md.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import beta

from crossdistill.theory.finite import Floats
from crossdistill.theory.rademacher import ramp_rademacher
from crossdistill.theory.transfer import margins, ramp

NORMS: Floats = np.exp2(np.arange(-4, 13, dtype=np.float64))
"""Norms B over margin gamma that the union bound is over; larger ones are vacuous for less than 10^8 unit features."""


@dataclass(frozen=True, kw_only=True)
class RiskBound:
    """``risk <= value`` with probability ``1 - delta``.

    Attributes:
        value: not cut off at 1.
        items: it rests on.
        classes: k.
        delta: probability that the bound does not hold.
    """

    value: float
    items: int
    classes: int
    delta: float

    @property
    def vacuous(self) -> bool:
        """Says nothing: any probe's risk is at most one."""
        return self.value >= 1

    @property
    def worse_than_guessing(self) -> bool:
        """Does not tell the probe from a guess among k classes of equal share."""
        return self.value >= 1 - 1 / self.classes

    def to_json(self) -> dict[str, Any]:
        """All numbers and both flags."""
        return {**asdict(self), "vacuous": self.vacuous, "worse_than_guessing": self.worse_than_guessing}


@dataclass(frozen=True, kw_only=True)
class ProbeBound(RiskBound):
    """``risk <= empirical + complexity + deviation`` with probability ``1 - delta`` (Eq. 38, 40).

    Attributes:
        value: the sum, an upper bound of the 0-1 risk and of the expected ramp loss; not cut off at 1.
        empirical: mean ramp loss on the labelled items.
        complexity: twice the Rademacher complexity.
        deviation: ``3 sqrt(log(2 T / delta) / (2 m))`` for a grid of T norms.
        margin: gamma, which the certificate chose itself.
        norm_over_margin: the point of the grid, at least ``|W|_F / gamma``.
        items: m.
        classes: k.
        delta: probability that the bound does not hold.
    """

    empirical: float
    complexity: float
    deviation: float
    margin: float
    norm_over_margin: float


def rademacher_certificate(
    features: ArrayLike,
    labels: ArrayLike,
    weights: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    delta: float = 0.05,
    norms: Floats = NORMS,
) -> ProbeBound:
    """Bounds the risk of ``argmax_y <w_y, z> + b_y`` by the items that it was *trained* on (Eq. 38 to 40).

    The labelled items must be independent draws that the encoder was not trained on: with it, the features would
    depend on one another, and the bound would not hold. Weights, norm and margin may depend on them in any way. The
    bias is the weight of a constant feature 1, and the classes' mean weight is subtracted: no margin changes by it.

    Args:
        features: ``(m, d)``.
        labels: ``(m,)`` class numbers in [0, k).
        weights: ``(k, d)``.
        bias: ``(k,)``, zero by default.
        delta: probability that the bound may fail.
        norms: increasing grid of ``B / gamma``, fixed beforehand.

    Raises:
        ValueError: shapes do not fit together, numbers that are not finite, or delta is outside (0, 1).
    """
    rows, matrix = np.asarray(features, dtype=np.float64), np.asarray(weights, dtype=np.float64)
    _check_delta(delta)
    if rows.ndim != 2 or matrix.ndim != 2 or rows.shape[1] != matrix.shape[1]:
        raise ValueError(f"expected features (m, d) and weights (k, d), received {rows.shape} and {matrix.shape}")
    if bias is not None:
        offsets = np.asarray(bias, dtype=np.float64)
        if offsets.shape != (len(matrix),):
            raise ValueError(f"bias: expected ({len(matrix)},), received {offsets.shape}")
        rows = np.concatenate([rows, np.ones((len(rows), 1))], axis=1)
        matrix = np.concatenate([matrix, offsets[:, None]], axis=1)
    if not (np.isfinite(rows).all() and np.isfinite(matrix).all()) or len(rows) == 0:
        raise ValueError("expected finite numbers, and at least one item")
    matrix = matrix - matrix.mean(axis=0)
    found = margins(rows @ matrix.T, labels)
    count, classes = len(rows), len(matrix)
    norm = float(np.linalg.norm(matrix))
    deviation = 3 * math.sqrt(math.log(2 * len(norms) / delta) / (2 * count))
    bounds = []
    for limit in (float(each) for each in norms):
        # The largest margin's scale that this norm allows: |W|_F / gamma = limit. All norms hold at once (union bound).
        gamma = norm / limit if norm > 0 else 1.0
        empirical, complexity = float(ramp(found, gamma).mean()), 2 * ramp_rademacher(rows, limit, classes)
        bounds.append(
            ProbeBound(
                value=empirical + complexity + deviation, empirical=empirical, complexity=complexity,
                deviation=deviation, margin=gamma, norm_over_margin=limit, items=count, classes=classes, delta=delta,
            )
        )  # fmt: skip
    return min(bounds, key=lambda bound: bound.value)


@dataclass(frozen=True, kw_only=True)
class HeldOutBound(RiskBound):
    """``risk <= value`` with probability ``1 - delta``, from items that the probe was not trained on (Eq. 41).

    Attributes:
        value: the exact (Clopper-Pearson) upper limit.
        errors: wrong ones among the items.
        items: independent held-out items.
        classes: k.
        delta: probability that the bound does not hold.
    """

    errors: int


def held_out_certificate(
    errors: int, items: int, *, classes: int, delta: float = 0.05, students: int = 1
) -> HeldOutBound:
    """Bounds the risk by errors on independent held-out items, one a group, exactly (Clopper and Pearson, 1934).

    Usually far tighter than :func:`rademacher_certificate`, at the price of labelled items that train nothing.

    Args:
        errors: wrong predictions.
        items: all predictions.
        classes: k.
        delta: probability that the bound may fail.
        students: probes compared on the same items, of which one is then chosen (union bound).

    Raises:
        ValueError: counts that do not fit together, or delta is outside (0, 1).
    """
    _check_delta(delta)
    if not 0 <= errors <= items or items < 1 or students < 1 or classes < 1:
        raise ValueError(f"expected 0 <= errors <= items, received {errors} of {items} ({students} students)")
    value = 1.0 if errors == items else float(beta.ppf(1 - delta / students, errors + 1, items - errors))
    return HeldOutBound(value=value, errors=errors, items=items, classes=classes, delta=delta)


def _check_delta(delta: float) -> None:
    if not 0 < delta < 1:
        raise ValueError(f"delta: expected a number in (0, 1), received {delta}")
