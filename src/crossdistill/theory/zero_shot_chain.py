"""The full chain for a margin classifier of source vectors that is applied to the target.

See :mod:`~crossdistill.theory.chain`. Equation numbers are those of docs/theory.md.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from crossdistill.theory.deviation import group_means
from crossdistill.theory.finite import Floats
from crossdistill.theory.probe_bound import ProbeBound
from crossdistill.theory.terms import INDEPENDENT, SOURCE_SAMPLE, Chain, Term, pair_sample_term
from crossdistill.theory.transfer import margin_shift, ramp, transferred_error

_ZERO_SHOT = "expected 0-1 error on the target of the classifier of source vectors"


def zero_shot_chain(
    margin_source: ArrayLike,
    errors: ArrayLike,
    groups: ArrayLike,
    *,
    lipschitz: float,
    gamma: float,
    delta: float = 0.05,
    students: int = 1,
    chance: float | None = None,
) -> Chain:
    """A classifier of source vectors applied to the target, from held-out pairs with source labels (Eq. 45).

    ``E err_B <= mean min(1, ramp(margin_A) + L eps / gamma) + sqrt(log(K / delta) / (2 G))``. The classifier and gamma
    are fixed before the pairs are drawn.

    Args:
        margin_source: ``(n,)`` margins of the source vectors for their labels.
        errors: ``(n,)`` distances ``|z^B - z^A|`` of the pairs.
        groups: ``(n,)``.
        lipschitz: L, see :func:`~crossdistill.theory.transfer.margin_lipschitz`.
        gamma: the ramp's width.
        delta: probability that the bound may fail.
        students: K; times the number of gammas, where several are tried.
        chance: risk of a guess, for a flag.

    Raises:
        ValueError: shapes do not fit together, or a number that is not positive.
    """
    source = ramp(margin_source, gamma)
    both = group_means(transferred_error(source, margin_shift(errors, lipschitz, gamma)), groups)
    risk = float(group_means(source, groups).mean())
    fixed = Term(
        name="label sample", value=0.0, certified=True, delta=0.0, why="the classifier was fixed before the pairs"
    )
    return Chain(
        name="zero-shot, held out",
        bounded=_ZERO_SHOT,
        terms=(
            Term(name="source risk", value=risk, certified=True, delta=0.0, why="mean ramp loss, Eq. 29"),
            Term(name="tv", value=float(both.mean()) - risk, certified=True, delta=0.0, why="Eq. 30, pair by pair"),
            pair_sample_term(len(both), delta, students),
            SOURCE_SAMPLE,
            fixed,
        ),
        assumptions=(INDEPENDENT, "the classifier and gamma were fixed before the pairs were drawn"),
        chance=chance,
    )


def probe_chain(
    probe: ProbeBound,
    errors: ArrayLike,
    groups: ArrayLike,
    *,
    lipschitz: float,
    delta: float = 0.05,
    students: int = 1,
    chance: float | None = None,
) -> Chain:
    """Likewise with the classifier's own training items in the source: all terms certified (Eq. 48).

    ``E err_B <= ramp_A + 2 Rad + 3 sqrt(..) + mean min(1, L eps / gamma) + sqrt(log(K / delta) / (2 G))``.

    Args:
        probe: of the classifier, on its labelled source items.
        errors: ``(n,)`` distances of held-out pairs without labels, independent of those items.
        groups: ``(n,)`` of the pairs.
        lipschitz: L of the classifier's weights.
        delta: of the pairs' term; the probe has its own.
        students: K.
        chance: risk of a guess, for a flag.

    Raises:
        ValueError: shapes do not fit together, or a number that is not positive.
    """
    shift = group_means(margin_shift(errors, lipschitz, probe.margin), groups)
    labels = Term(
        name="label sample", value=probe.complexity + probe.deviation, certified=True, delta=probe.delta,
        why=f"Eq. 38 to 40: {probe.items} labelled source items, B / gamma = {probe.norm_over_margin:g}",
    )  # fmt: skip
    return Chain(
        name="zero-shot, from the classifier's training items",
        bounded=_ZERO_SHOT,
        terms=(
            Term(name="source risk", value=probe.empirical, certified=True, delta=0.0, why="mean ramp loss, Eq. 29"),
            Term(name="tv", value=float(shift.mean()), certified=True, delta=0.0, why="Eq. 30 over the pairs"),
            pair_sample_term(len(shift), delta, students),
            SOURCE_SAMPLE,
            labels,
        ),
        assumptions=(INDEPENDENT, "neither encoder was trained on the labelled items; pairs and items are independent"),
        chance=chance,
    )


def best_gamma(
    margin_source: ArrayLike, errors: ArrayLike, groups: ArrayLike, *, lipschitz: float, gammas: Floats
) -> float:
    """The gamma of a grid that makes Eq. 45 smallest; choose it on other pairs, or count the grid into ``students``.

    Raises:
        ValueError: an empty grid; see :func:`zero_shot_chain`.
    """
    if len(gammas) == 0:
        raise ValueError("gammas: expected at least one")

    def bound(gamma: float) -> float:
        both = transferred_error(ramp(margin_source, gamma), margin_shift(errors, lipschitz, gamma))
        return float(group_means(both, groups).mean())

    return min((float(each) for each in np.asarray(gammas, dtype=np.float64)), key=bound)
