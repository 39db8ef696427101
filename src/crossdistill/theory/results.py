"""What :func:`~crossdistill.theory.measure.measure_theory` returns: plain numbers, and how they become JSON.

Equation numbers are those of docs/theory.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from crossdistill.theory.finite import Floats
from crossdistill.theory.terms import Chain

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Mean and quantiles of a value over the anchors."""

    mean: float
    quantiles: dict[str, float]

    @classmethod
    def of(cls, values: Floats) -> Spread:
        """Of ``(n,)``."""
        found = np.quantile(values, QUANTILES)
        return cls(
            mean=float(values.mean()), quantiles={f"{q:g}": float(v) for q, v in zip(QUANTILES, found, strict=True)}
        )


@dataclass(frozen=True, kw_only=True)
class FormTerms:
    """One form of the similarity distributions, every anchor against all others.

    Attributes:
        form: ``within`` or ``to_teacher``.
        tv: the anchors' total variation.
        tv_limit: upper limit of its expectation, certified: the anchors are other groups than the candidates.
        cmd: mean cross-entropy, the CMD loss over this set.
        kl: mean divergence, ``cmd - entropy_source``.
        entropy_source: mean entropy of the source's distributions.
        entropy_target: of the target's.
        certificates: upper bounds of the mean TV by a loss: ``pinsker``, ``bretagnolle_huber``, ``best`` (of the two),
            ``l2`` (anchor by anchor, Eq. 12 or 14), ``l2_loss`` (of the loss alone; ``to_teacher`` with
            one temperature).
        source_risk: mean soft nearest-neighbour error; None without labels.
        target_risk: of the target, from the same labels.
        slack: ``source_risk + tv - target_risk``, at least zero (Eq. 22).
        source_vote_risk: mean error of the hard vote.
        target_vote_risk: of the target.
        vote_certificate: share of anchors whose hard vote Eq. 25 does not guarantee.
        chains: certified bounds of the target's risk; empty without labels or with a single group.
    """

    form: str
    tv: Spread
    tv_limit: float | None
    cmd: float
    kl: float
    entropy_source: float
    entropy_target: float
    certificates: dict[str, float]
    source_risk: float | None
    target_risk: float | None
    slack: float | None
    source_vote_risk: float | None
    target_vote_risk: float | None
    vote_certificate: float | None
    chains: tuple[Chain, ...]

    def to_json(self) -> dict[str, Any]:
        """Every field."""
        plain = {name: value for name, value in vars(self).items() if name not in ("tv", "chains")}
        return {**plain, "tv": vars(self.tv), "chains": [chain.to_json() for chain in self.chains]}


@dataclass(frozen=True, kw_only=True)
class PartnerTerms:
    """Student to teacher, own column included (CMC); None fields of :class:`TheoryTerms` where spaces differ.

    Attributes:
        cmc: mean loss over this set, student to teacher.
        tv: mean distance from the point mass on the partner, ``mean (1 - q(i|i))``.
        certificate: ``1 - exp(-cmc)``, its bound (Eq. 16).
        retrieval_error: share of anchors with another candidate at least as similar as the partner.
        retrieval_bound: its bound ``cmc / log 2`` (Eq. 17).
        information: ``log n - cmc`` nats, which estimates a lower bound of the mutual information (Eq. 19); not
            certified.
        l2: mean squared distance of the pairs, the L2 loss.
    """

    cmc: float
    tv: float
    certificate: float
    retrieval_error: float
    retrieval_bound: float
    information: float
    l2: float


@dataclass(frozen=True, kw_only=True)
class TheoryTerms:
    """What :func:`measure_theory` found.

    Attributes:
        items: n.
        groups: number of groups.
        classes: number of classes, if labelled.
        temperature: tau_B.
        source_temperature: tau_A.
        students: K that the chains allow for.
        delta: of every chain.
        forms: ``within``, and ``to_teacher`` where both modalities have one space.
        partners: see there.
    """

    items: int
    groups: int
    classes: int | None
    temperature: float
    source_temperature: float
    students: int
    delta: float
    forms: dict[str, FormTerms]
    partners: PartnerTerms | None

    def to_json(self) -> dict[str, Any]:
        """Everything, in plain types."""
        plain = {name: value for name, value in vars(self).items() if name not in ("forms", "partners")}
        forms = {name: form.to_json() for name, form in self.forms.items()}
        return {**plain, "forms": forms, "partners": None if self.partners is None else vars(self.partners)}
