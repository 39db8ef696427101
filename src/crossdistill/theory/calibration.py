"""At which temperature of the target its distributions come closest to the source's.

Total variation at one temperature for both measures two things at once: whether the target knows which items are alike,
and whether it is as sure of it as the source. Objectives differ in the second (a regression's student is far surer
than a contrastive one's), and no task that ranks or normalises minds it. The second goes away when the target's
temperature is chosen, on other pairs than those that are then measured; every inequality holds at any temperature.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from crossdistill.theory.distributions import Form, compare_similarities
from crossdistill.theory.finite import Floats
from crossdistill.theory.vectors import PairedVectors

_COARSE = np.geomspace(0.03, 3.0, 9)
_SMALL = 2000  # items whose similarities are kept
_FINE = 3  # halvings of the step after that


def best_temperature(
    source: ArrayLike,
    target: ArrayLike,
    *,
    source_temperature: float,
    ids: ArrayLike | None = None,
    form: Form = "to_teacher",
) -> float:
    """The target's temperature with the least mean total variation, between 0.03 and 3.

    A search over nine temperatures, then between the best one's neighbours.

    Args:
        source: ``(n, d)`` the teacher's vectors.
        target: ``(n, d)`` the student's.
        source_temperature: tau_A.
        ids: ``(n,)`` identity of the source item.
        form: of the distributions.

    Raises:
        ValueError: see :func:`~crossdistill.theory.distributions.compare_similarities`.
    """
    pairs = PairedVectors.of(source, target, ids=ids)
    if len(pairs) > _SMALL:
        return _search(lambda tau: _compared(pairs, tau, source_temperature, form))
    # What does not depend on the temperature is computed once; rows of a small set fit into memory.
    apart = pairs.ids[:, None] != pairs.ids[None, :]
    if not apart.any(axis=1).all():
        raise ValueError("an anchor has no candidate of another identity")
    columns = pairs.target if form == "within" else pairs.source
    own = _softmax(np.where(apart, pairs.source @ pairs.source.T, -np.inf), source_temperature)
    cosine = np.where(apart, pairs.target @ columns.T, -np.inf)
    return _search(lambda tau: float(np.abs(own - _softmax(cosine, tau)).sum(axis=1).mean()) / 2)


def _compared(pairs: PairedVectors, temperature: float, source_temperature: float, form: Form) -> float:
    found = compare_similarities(pairs, temperature=temperature, source_temperature=source_temperature, form=form)
    return float(found.tv.mean())


def _softmax(cosine: Floats, temperature: float) -> Floats:
    logits = cosine / temperature
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    found: Floats = weights / weights.sum(axis=1, keepdims=True)
    return found


def _search(distance: Callable[[float], float]) -> float:
    measured = {float(each): distance(float(each)) for each in _COARSE}
    best = min(measured, key=lambda each: measured[each])
    step = float(_COARSE[1] / _COARSE[0])
    for _ in range(_FINE):
        step = step**0.5
        for other in (best / step, best * step):
            if _COARSE[0] <= other <= _COARSE[-1] and other not in measured:
                measured[other] = distance(other)
        best = min(measured, key=lambda each: measured[each])
    return best
