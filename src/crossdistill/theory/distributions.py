"""Similarity distributions of two modalities compared anchor by anchor, exactly, in one chunked pass.

Equation numbers are those of docs/theory.md.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from crossdistill.theory.finite import Floats, Ints
from crossdistill.theory.vectors import PairedVectors, positive

Form = Literal["within", "to_teacher"]
Mask = NDArray[np.bool_]

_BUFFERS = 8  # arrays of (chunk, candidates) that live at once
_CLOSE = 0.5  # difference of log-probabilities below which a divergence's terms are computed from it


@dataclass(frozen=True, kw_only=True, eq=False)
class Similarities:
    """What :func:`compare_similarities` measures; every field ``(anchors,)``, logarithms natural.

    Attributes:
        tv: total variation of the two distributions (Eq. 1).
        kl: divergence of the target's from the source's (Eq. 4).
        cross_entropy: ``-sum_j p_A(j|i) log p_B(j|i)``, the anchor's CMD loss.
        entropy_source: of ``p_A(.|i)``.
        entropy_target: of ``p_B(.|i)``.
        partner_source: ``p_A(i|i)``; None where the own candidate is left out.
        partner_target: ``p_B(i|i)`` likewise.
        cmc: ``-log p_B(i|i)`` likewise, accurate where it is close to zero: for ``to_teacher`` the anchor's CMC loss.
        error_source: soft nearest-neighbour error under ``p_A`` (Eq. 21); None without labels.
        error_target: under ``p_B``.
        margin_source: vote of the anchor's class minus the largest of another (Eq. 24); None without labels.
        margin_target: under ``p_B``.
    """

    tv: Floats
    kl: Floats
    cross_entropy: Floats
    entropy_source: Floats
    entropy_target: Floats
    partner_source: Floats | None = None
    partner_target: Floats | None = None
    cmc: Floats | None = None
    error_source: Floats | None = None
    error_target: Floats | None = None
    margin_source: Floats | None = None
    margin_target: Floats | None = None


def compare_similarities(
    anchors: PairedVectors,
    candidates: PairedVectors | None = None,
    *,
    temperature: float,
    source_temperature: float | None = None,
    form: Form = "within",
    own: bool = False,
    chunk_mb: float = 128.0,
) -> Similarities:
    """Compares ``p_A(j|i)`` with ``p_B(j|i)`` for every anchor i over its candidates j (Eq. 1 to 4).

    ``p_A(j|i)`` is proportional to ``exp(<z_i^A, z_j^A> / tau_A)``; ``p_B(j|i)`` to ``exp(<z_i^B, z_j^B> / tau_B)``
    (``within``) or to ``exp(<z_i^B, z_j^A> / tau_B)`` (``to_teacher``). Candidates of the anchor's identity are left
    out, but for its own with ``own``. Takes 16 bytes a number of the vectors, and ``chunk_mb``.

    Args:
        anchors: the pairs i.
        candidates: the pairs j; the anchors themselves by default.
        temperature: tau_B.
        source_temperature: tau_A; the same by default.
        form: see above.
        own: the anchor's own pair is a candidate, too, as in CMC. Among candidates that are not the anchors it is the
            one of the anchor's identity.
        chunk_mb: budget for the similarities, in MiB.

    Raises:
        ValueError: widths differ, a temperature is not positive, an anchor has no candidate, or none or several of its
            own with ``own``.
    """
    if form not in get_args(Form):
        raise ValueError(f"form: expected one of {get_args(Form)}, received {form!r}")
    scale = 1 / positive(temperature, what="temperature")
    source_scale = 1 / positive(
        temperature if source_temperature is None else source_temperature, what="source_temperature"
    )
    same_set = candidates is None
    candidates = anchors if candidates is None else candidates
    columns = candidates.target if form == "within" else candidates.source
    for rows, others in ((anchors.source, candidates.source), (anchors.target, columns)):
        if rows.shape[1] != others.shape[1]:
            raise ValueError(f"expected one width, received {rows.shape[1]} and {others.shape[1]} ({form})")
    partners = _partners(anchors, candidates, same_set) if own else None
    classes = _Classes.of(anchors, candidates)
    step = max(1, int(positive(chunk_mb, what="chunk_mb") * 2**20 / (8 * _BUFFERS * len(candidates))))
    parts = []
    for start in range(0, len(anchors), step):
        chosen = slice(start, start + step)
        excluded = anchors.ids[chosen, None] == candidates.ids[None, :]
        if partners is not None:
            excluded[np.arange(len(excluded)), partners[chosen]] = False
        if excluded.all(axis=1).any():
            raise ValueError("an anchor has no candidate of another identity")
        log_p = _log_softmax(anchors.source[chosen] @ candidates.source.T, source_scale, excluded)
        log_q = _log_softmax(anchors.target[chosen] @ columns.T, scale, excluded)
        parts.append(_compare(log_p, log_q, excluded, None if partners is None else partners[chosen], classes, start))
    return _joined(parts)


@dataclass(frozen=True, eq=False)
class _Classes:
    """Which candidate is of which class, sparse ``(candidates, classes)``, and the anchors' classes."""

    members: sparse.csr_array
    anchors: Ints  # number of the class among the candidates'; -1 where no candidate has it

    @classmethod
    def of(cls, anchors: PairedVectors, candidates: PairedVectors) -> _Classes | None:
        if anchors.labels is None or candidates.labels is None:
            return None
        names, numbers = np.unique(candidates.labels, return_inverse=True)
        places = np.arange(len(candidates))
        members = sparse.csr_array((np.ones(len(places)), (places, numbers)), shape=(len(places), len(names)))
        found = np.searchsorted(names, anchors.labels).clip(max=len(names) - 1)
        return cls(members, np.where(names[found] == anchors.labels, found, -1))

    def votes(self, probabilities: Floats, start: int) -> tuple[Floats, Floats]:
        """Soft errors and margins ``(chunk,)`` of the anchors from ``start`` on."""
        mass: Floats = (self.members.T @ probabilities.T).T
        label = self.anchors[start : start + len(mass)]
        rows = np.flatnonzero(label >= 0)
        right = np.zeros(len(mass))
        right[rows] = mass[rows, label[rows]]
        mass[rows, label[rows]] = 0.0  # no vote of another class is below zero
        return np.clip(1 - right, 0.0, 1.0), right - mass.max(axis=1)


def _partners(anchors: PairedVectors, candidates: PairedVectors, same_set: bool) -> Ints:
    if same_set:
        return np.arange(len(anchors))
    order = np.argsort(candidates.ids, kind="stable")
    names = candidates.ids[order]
    first, last = (np.searchsorted(names, anchors.ids, side=side) for side in ("left", "right"))
    if (last - first != 1).any():
        raise ValueError("own: expected exactly one candidate of each anchor's identity")
    found: Ints = order[first]
    return found


def _log_softmax(logits: Floats, scale: float, excluded: Mask) -> Floats:
    """Overwrites similarities ``(chunk, N)`` by log-probabilities; excluded ones are ``-inf``."""
    logits *= scale
    logits[excluded] = -np.inf
    logits -= logits.max(axis=1, keepdims=True)
    logits -= np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return logits


def _compare(
    log_p: Floats,
    log_q: Floats,
    excluded: Mask,
    partners: Ints | None,
    classes: _Classes | None,
    start: int,
) -> Similarities:
    p, q = np.exp(log_p), np.exp(log_q)
    log_p[excluded] = log_q[excluded] = 0.0  # 0 log 0 = 0
    tv = np.minimum(np.abs(p - q).sum(axis=1) / 2, 1.0)
    # The terms p log(p/q) - p + q are at least zero each: accurate where the distributions nearly agree.
    gap = log_q - log_p
    close = np.abs(gap) < _CLOSE
    small = np.where(close, gap, 0.0)
    terms = np.where(close, p * (np.expm1(small) - small), q - p - p * gap)
    errors: list[Floats | None] = [None] * 4
    if classes is not None:
        errors[0], errors[2] = classes.votes(p, start)
        errors[1], errors[3] = classes.votes(q, start)
    own = None if partners is None else (np.arange(len(p)), partners)
    return Similarities(
        tv=tv,
        kl=np.maximum(terms, 0.0).sum(axis=1),
        cross_entropy=-(p * log_q).sum(axis=1),
        entropy_source=-(p * log_p).sum(axis=1),
        entropy_target=-(q * log_q).sum(axis=1),
        partner_source=None if own is None else p[own],
        partner_target=None if own is None else q[own],
        cmc=None if own is None else _surprise(q, log_q, own),
        error_source=errors[0],
        error_target=errors[1],
        margin_source=errors[2],
        margin_target=errors[3],
    )


def _surprise(q: Floats, log_q: Floats, own: tuple[Ints, Ints]) -> Floats:
    """``-log q(i|i)``; near zero through what the others have together, which stays accurate there."""
    others = q.copy()
    others[own] = 0.0
    rest = others.sum(axis=1)
    return np.where(rest < 0.5, -np.log1p(-np.minimum(rest, 0.5)), -log_q[own])


def _joined(parts: list[Similarities]) -> Similarities:
    joined: dict[str, Any] = {}
    for each in fields(Similarities):
        values = [getattr(part, each.name) for part in parts]
        joined[each.name] = None if values[0] is None else np.concatenate(values)
    return Similarities(**joined)
