"""The full chain for the soft nearest-neighbour rule: source risk + TV + pair-, source- and label-sample terms.

Every function returns the chain with all five terms. What is certified is proven for the data at hand; what is not is
named, with the reason, and never added. Equation numbers are those of docs/theory.md.
"""

from __future__ import annotations

from numpy.typing import ArrayLike

from crossdistill.theory.certificates import kl_certificate
from crossdistill.theory.deviation import FLOAT32_BITS, group_means, held_out_deviation, hoeffding, log_class_size
from crossdistill.theory.terms import INDEPENDENT, SOURCE_SAMPLE, Chain, Term, pair_sample_term
from crossdistill.theory.transfer import transferred_error

_SOFT = "expected soft nearest-neighbour error of the target over this candidate set"
_FIXED = "the candidates, their labels and the temperature were fixed before the anchors were drawn"


def held_out_chain(
    error_source: ArrayLike,
    tv: ArrayLike,
    groups: ArrayLike,
    *,
    delta: float = 0.05,
    students: int = 1,
    chance: float | None = None,
) -> Chain:
    """From held-out anchors against fixed candidates, no target label (Eq. 43).

    ``E err_B <= mean min(1, err_A + TV) + sqrt(log(K / delta) / (2 G))`` over G groups.

    Args:
        error_source: ``(n,)`` soft errors of the anchors in the source.
        tv: ``(n,)`` their TV.
        groups: ``(n,)``; the mean is over groups, each with its items' mean.
        delta: probability that the bound may fail.
        students: K, how many students (and settings) are compared on these anchors.
        chance: risk of a guess, for a flag.

    Raises:
        ValueError: shapes do not fit together, or a value is outside [0, 1].
    """
    both = group_means(transferred_error(error_source, tv), groups)
    risk = float(group_means(error_source, groups).mean())
    return _soft_chain(
        "held out", risk, float(both.mean()) - risk, "Eq. 22, measured anchor by anchor, the sum cut off at 1",
        pair_sample_term(len(both), delta, students), chance,
    )  # fmt: skip


def held_out_kl_chain(
    error_source: ArrayLike,
    kl: ArrayLike,
    groups: ArrayLike,
    *,
    delta: float = 0.05,
    students: int = 1,
    chance: float | None = None,
) -> Chain:
    """The same from the loss: the certificate of the mean divergence ``CMD - H`` in place of the TV (Eq. 44).

    Args:
        error_source: as in :func:`held_out_chain`.
        kl: ``(n,)`` each anchor's ``CMD_i - H(p_A(.|i))``.
        groups: as there.
        delta: as there.
        students: as there.
        chance: as there.

    Raises:
        ValueError: shapes do not fit together, or a divergence is negative.
    """
    divergence = group_means(kl, groups)
    risk = float(group_means(error_source, groups).mean())
    return _soft_chain(
        "held out, from the loss", risk, kl_certificate(float(divergence.mean())), "Eq. 9 of the mean CMD loss",
        pair_sample_term(len(divergence), delta, students), chance,
    )  # fmt: skip


def training_chain(
    error_source: ArrayLike,
    tv: ArrayLike,
    groups: ArrayLike,
    *,
    parameters: int,
    bits: int = FLOAT32_BITS,
    delta: float = 0.05,
    chance: float | None = None,
) -> Chain:
    """From the pairs that the student was trained on, by a union bound over all students there are (Eq. 46, 47).

    Certified, and vacuous for every network of interest: 10^7 float32 weights have ``log N = 2.2 * 10^8``, so that the
    pair-sample term is below one from 10^8 pairs on. It is here because the rate ``sqrt(log N / n)`` is the theory's;
    use :func:`held_out_chain`.

    Args:
        error_source: ``(n,)`` soft errors in the source of the training pairs as anchors.
        tv: ``(n,)`` their TV.
        groups: ``(n,)``.
        parameters: number of the student's weights.
        bits: of one weight.
        delta: probability that the bound may fail.
        chance: risk of a guess, for a flag.

    Raises:
        ValueError: see :func:`held_out_chain`; or counts that are not positive.
    """
    both = group_means(transferred_error(error_source, tv), groups)
    risk = float(group_means(error_source, groups).mean())
    log_choices = log_class_size(parameters, bits)
    term = Term(
        name="pair sample", value=hoeffding(len(both), delta, log_choices=log_choices), certified=True, delta=delta,
        why=f"Eq. 46: {len(both)} groups, union bound over 2^{bits * parameters} students; no anchor is a candidate",
    )  # fmt: skip
    return _soft_chain(
        "training pairs", risk, float(both.mean()) - risk, "Eq. 22, measured anchor by anchor", term, chance
    )


def tv_limit(tv: ArrayLike, groups: ArrayLike, *, delta: float = 0.05, students: int = 1) -> float:
    """Upper limit of the expected TV of held-out anchors against fixed candidates (Eq. 43 without errors), at most 1.

    Raises:
        ValueError: shapes do not fit together.
    """
    means = group_means(tv, groups)
    return min(1.0, float(means.mean()) + held_out_deviation(len(means), delta, students))


def _soft_chain(name: str, risk: float, tv: float, why: str, pair_sample: Term, chance: float | None) -> Chain:
    training = name == "training pairs"
    return Chain(
        name=name,
        bounded=_SOFT,
        terms=(
            Term(name="source risk", value=risk, certified=True, delta=0.0, why="mean soft error, Eq. 21"),
            Term(name="tv", value=tv, certified=True, delta=0.0, why=why),
            pair_sample,
            SOURCE_SAMPLE,
            Term(
                name="label sample", value=0.0, certified=True, delta=0.0,
                why="the soft nearest-neighbour rule has nothing to fit; the candidates' labels are the source's",
            ),
        ),
        assumptions=(_FIXED, "groups are independent draws of one distribution" if training else INDEPENDENT),
        chance=chance,
    )  # fmt: skip
