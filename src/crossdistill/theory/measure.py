"""All of it for one student: measured on held-out pairs, with certificates, chains and what they leave over.

Equation numbers are those of docs/theory.md.
"""

from __future__ import annotations

from typing import get_args

import numpy as np
from numpy.typing import ArrayLike

from crossdistill.theory.certificates import (
    bretagnolle_huber,
    cmc_certificate,
    kl_certificate,
    l2_certificate,
    logit_shift,
    mutual_information_bound,
    pinsker,
    retrieval_error_bound,
    softmax_tv,
)
from crossdistill.theory.chain import held_out_chain, held_out_kl_chain, tv_limit
from crossdistill.theory.distributions import Form, Similarities, compare_similarities
from crossdistill.theory.finite import Floats, Ints
from crossdistill.theory.results import FormTerms, PartnerTerms, Spread, TheoryTerms
from crossdistill.theory.terms import Chain
from crossdistill.theory.vectors import PairedVectors, whole_numbers


def measure_theory(
    source: ArrayLike,
    target: ArrayLike,
    *,
    temperature: float,
    source_temperature: float | None = None,
    ids: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    labels: ArrayLike | None = None,
    students: int = 1,
    delta: float = 0.05,
    seed: int = 0,
) -> TheoryTerms:
    """Measures the theory's terms on held-out pairs.

    Means and certificates are of all anchors against all other items. For the certified chains half of the groups,
    drawn by the seed, are the candidates and the others the anchors: only then are the anchors independent draws.
    Each chain holds with probability 1 - delta; of several that one chooses from, together with delta for each.

    Args:
        source: ``(n, d)`` the teacher's vectors of the source items, of any length.
        target: ``(n, d)`` the student's of the target items.
        temperature: tau_B, of the target.
        source_temperature: tau_A; the same by default. Where tau_B was chosen, it was on other pairs.
        ids: ``(n,)`` identity of the source item; every item its own by default.
        groups: ``(n,)`` items of one group are not independent; the identities by default.
        labels: ``(n,)`` class numbers of the source items.
        students: K, how many students are compared on these pairs.
        delta: probability that a chain may fail.
        seed: of the split into candidates and anchors.

    Raises:
        ValueError: shapes do not fit together, numbers are not finite, fewer than two identities, or a temperature,
            delta or K out of range.
    """
    pairs = PairedVectors.of(source, target, ids=ids, labels=labels)
    of_group = pairs.ids if groups is None else whole_numbers(groups, len(pairs), what="groups")
    shared = pairs.source.shape == pairs.target.shape
    classes = None if pairs.labels is None else len(np.unique(pairs.labels))
    halves = _halves(of_group, seed)
    cold = temperature if source_temperature is None else source_temperature
    forms = {
        form: _form_terms(pairs, of_group, form, halves, (temperature, cold), students, delta, classes)
        for form in get_args(Form)
        if shared or form == "within"
    }
    return TheoryTerms(
        items=len(pairs),
        groups=len(np.unique(of_group)),
        classes=classes,
        temperature=temperature,
        source_temperature=cold,
        students=students,
        delta=delta,
        forms=forms,
        partners=_partner_terms(pairs, temperature) if shared else None,
    )


def theory_curve_point(
    source: ArrayLike,
    target: ArrayLike,
    *,
    temperature: float,
    source_temperature: float | None = None,
    ids: ArrayLike | None = None,
    labels: ArrayLike | None = None,
    form: Form = "within",
) -> dict[str, float]:
    """A few of the numbers, fast enough for every epoch.

    ``theory_tv`` (mean), ``theory_certificate`` (Eq. 9 of the mean divergence), and with labels ``theory_source_risk``,
    ``theory_target_risk`` and ``theory_bound``, which is the source's risk plus the mean TV.

    Args:
        source: ``(n, d)``.
        target: ``(n, d)``.
        temperature: tau_B.
        source_temperature: tau_A; the same by default.
        ids: ``(n,)`` as in :func:`measure_theory`.
        labels: ``(n,)`` class numbers.
        form: of the distributions.

    Raises:
        ValueError: see :func:`measure_theory`.
    """
    pairs = PairedVectors.of(source, target, ids=ids, labels=labels)
    found = compare_similarities(pairs, temperature=temperature, source_temperature=source_temperature, form=form)
    tv = float(found.tv.mean())
    point = {"theory_tv": tv, "theory_certificate": kl_certificate(float(found.kl.mean()))}
    if found.error_source is not None and found.error_target is not None:
        risk = float(found.error_source.mean())
        point["theory_source_risk"] = risk
        point["theory_target_risk"] = float(found.error_target.mean())
        point["theory_bound"] = risk + tv
    return point


def _halves(groups: Ints, seed: int) -> tuple[Ints, Ints] | None:
    """Positions of the anchors and of the candidates; None where there is a single group."""
    names = np.unique(groups)
    if len(names) < 2:
        return None
    chosen = np.random.default_rng((seed, 0x7468)).permutation(names)[: len(names) // 2]
    candidates = np.isin(groups, chosen)
    return np.flatnonzero(~candidates), np.flatnonzero(candidates)


def _form_terms(
    pairs: PairedVectors,
    groups: Ints,
    form: Form,
    halves: tuple[Ints, Ints] | None,
    temperatures: tuple[float, float],
    students: int,
    delta: float,
    classes: int | None,
) -> FormTerms:
    temperature, cold = temperatures
    found = compare_similarities(pairs, temperature=temperature, source_temperature=cold, form=form)
    limit, chains = None, tuple[Chain, ...]()
    if halves is not None:
        anchors, candidates = halves
        apart = compare_similarities(
            pairs.rows(anchors), pairs.rows(candidates), temperature=temperature, source_temperature=cold, form=form
        )
        limit = tv_limit(apart.tv, groups[anchors], delta=delta, students=students)
        if apart.error_source is not None and classes is not None:
            common = {"delta": delta, "students": students, "chance": 1 - 1 / classes}
            chains = (
                held_out_chain(apart.error_source, apart.tv, groups[anchors], **common),  # type: ignore[arg-type]
                held_out_kl_chain(apart.error_source, apart.kl, groups[anchors], **common),  # type: ignore[arg-type]
            )
    source_risk, target_risk = _mean(found.error_source), _mean(found.error_target)
    tv = Spread.of(found.tv)
    slack = None if source_risk is None or target_risk is None else source_risk + tv.mean - target_risk
    return FormTerms(
        form=form,
        tv=tv,
        tv_limit=limit,
        cmd=float(found.cross_entropy.mean()),
        kl=float(found.kl.mean()),
        entropy_source=float(found.entropy_source.mean()),
        entropy_target=float(found.entropy_target.mean()),
        certificates=_certificates(pairs, found, form, temperatures),
        source_risk=source_risk,
        target_risk=target_risk,
        slack=slack,
        source_vote_risk=_share_wrong(found.margin_source),
        target_vote_risk=_share_wrong(found.margin_target),
        vote_certificate=None if found.margin_source is None else float((found.margin_source <= 2 * found.tv).mean()),
        chains=chains,
    )


def _certificates(
    pairs: PairedVectors, found: Similarities, form: Form, temperatures: tuple[float, float]
) -> dict[str, float]:
    temperature, cold = temperatures
    kl = float(found.kl.mean())
    values = {"pinsker": pinsker(kl), "bretagnolle_huber": bretagnolle_huber(kl), "best": kl_certificate(kl)}
    if pairs.source.shape == pairs.target.shape:
        errors = pairs.errors()
        largest = float(errors.max()) if form == "within" else 0.0
        shift = logit_shift(errors, temperature=temperature, source_temperature=cold, candidate_errors=largest)
        values["l2"] = float(softmax_tv(shift).mean())
        if form == "to_teacher" and temperature == cold:
            values["l2_loss"] = l2_certificate(float((errors**2).mean()), temperature=temperature)
    return values


def _partner_terms(pairs: PairedVectors, temperature: float) -> PartnerTerms:
    found = compare_similarities(pairs, temperature=temperature, form="to_teacher", own=True)
    assert found.cmc is not None
    cmc = float(found.cmc.mean())
    return PartnerTerms(
        cmc=cmc,
        tv=float(-np.expm1(-found.cmc).mean()),
        certificate=cmc_certificate(cmc),
        retrieval_error=_retrieval_error(pairs),
        retrieval_bound=retrieval_error_bound(cmc),
        information=mutual_information_bound(cmc, len(pairs)),
        l2=float((pairs.errors() ** 2).mean()),
    )


def _retrieval_error(pairs: PairedVectors) -> float:
    wrong = 0
    step = max(1, 2**23 // len(pairs))  # 64 MiB of similarities
    for start in range(0, len(pairs), step):
        rows = slice(start, start + step)
        similarity = pairs.target[rows] @ pairs.source.T
        own = similarity[np.arange(len(similarity)), np.arange(start, start + len(similarity))]
        rivals = (similarity >= own[:, None]) & (pairs.ids[rows, None] != pairs.ids[None, :])
        wrong += int(rivals.any(axis=1).sum())
    return wrong / len(pairs)


def _mean(values: Floats | None) -> float | None:
    return None if values is None else float(values.mean())


def _share_wrong(margin: Floats | None) -> float | None:
    return None if margin is None else float((margin <= 0).mean())
