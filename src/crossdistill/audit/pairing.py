"""Which pairs are probably none: each is judged by models of the pairs that were fitted without it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from crossdistill.audit.agreement import Canonical, correlations, evidence
from crossdistill.audit.calibration import Share, doubts, mismatched_share
from crossdistill.evaluation.intervals import Floats, Ints, proportion

View = tuple[Floats, Floats]
"""Features of the sources and of the targets of all pairs, ``(N, k)`` and ``(N, l)``."""

FEWEST, FEWEST_GROUPS = 60, 20  # pairs and groups, below which nothing can be said
FOLDS, REPEATS = 5, 3
_DROPPED = 0.1  # share of the pairs, the worst, that later fits leave out
_BLOCK = 1024  # pairs that are compared with each other at a time
_WRONG = 5  # wrong pairs for each right one that the views are weighed by
# What a signal has to be: the area under the ROC curve of right against wrong pairs, and how many more right pairs than
# wrong ones may be in the second quarter, where a clear signal leaves none.
_SOME, _CLEAR, _BLUR = 0.6, 0.7, 0.25

Signal = Literal["clear", "weak", "none"]


@dataclass(frozen=True)
class Pairing:
    """How well pairs fit.

    Attributes:
        score: by how many standard deviations the partner fits better than others, both directions added ``(N,)``.
        chance: share of wrong partners that fit at least as well ``(N,)``.
        doubt: probability that the pair is mismatched ``(N,)``; NaN where the signal is not clear.
        signal: whether the two sides tell enough about each other to judge pairs.
        accuracy: how often a partner fits better than a wrong one; 0.5 is chance.
        share: of mismatched pairs.
        weights: of each view in the evidence ``(V,)``.
        believed: canonical correlations of each view on pairs that were held out ``(c,)``.
    """

    score: Floats
    chance: Floats
    doubt: Floats
    signal: Signal
    accuracy: float
    share: Share
    weights: Floats
    believed: list[Floats]


def judge_pairs(views: list[View], groups: Ints, seed: int = 0) -> Pairing:
    """Judges every pair by its evidence against that of wrong pairs.

    For each fold of groups, canonical correlations of each view are fitted to the other folds; how much they are to be
    believed, and what each view counts, is learned from held-out pairs of the other folds. A pair's own fit therefore
    never enters its judgement. After a first round the worst tenth of the pairs takes no part in the fits.

    Args:
        views: at least one.
        groups: pairs of one group ``(N,)`` are in one fold, and are not compared with each other.
        seed: of the folds.
    """
    first = _Round(views, groups, np.ones(len(groups), dtype=bool), np.random.default_rng((seed, 0)))
    score, _ = first.judged()
    kept = score > np.quantile(score, _DROPPED)
    rounds = [_Round(views, groups, kept, np.random.default_rng((seed, 1, repeat))) for repeat in range(REPEATS)]
    judged = [each.judged() for each in rounds]
    chances = np.stack([each[1] for each in judged])
    share = mismatched_share(chances, groups)
    signal = _signal(chances, groups)
    return Pairing(
        score=np.mean([each[0] for each in judged], axis=0),
        chance=chances.mean(axis=0),
        doubt=doubts(chances, share.value) if signal == "clear" else np.full(len(groups), np.nan),
        signal=signal,
        accuracy=float(1 - chances.mean()),
        share=share,
        weights=np.mean([each.weights for each in rounds], axis=(0, 1)),
        believed=[np.mean([each.believed[view] for each in rounds], axis=(0, 1)) for view in range(len(views))],
    )


def _signal(chances: Floats, groups: Ints) -> Signal:
    better = proportion(1 - chances.mean(axis=0), groups)
    blur = ((chances > 0.25) & (chances <= 0.5)).mean() * 4 - (chances > 0.5).mean() * 2
    if better.low <= _SOME:
        return "none"
    return "clear" if better.low > _CLEAR and blur <= _BLUR else "weak"


class _Round:
    """One division of the groups into folds, and what was fitted to each.

    Attributes:
        believed: for each view the correlations ``(FOLDS, c)`` that a fold's pairs are judged by.
        weights: those of the views ``(FOLDS, V)``, likewise.
    """

    def __init__(self, views: list[View], groups: Ints, kept: NDArray[np.bool_], rng: np.random.Generator) -> None:
        self.groups, self.kept, self.rng = groups, kept, rng
        distinct, number = np.unique(groups, return_inverse=True)
        fold = (rng.permutation(len(distinct)) % FOLDS)[number]
        self.held = [np.flatnonzero(fold == each) for each in range(FOLDS)]
        self.blocks = [np.array_split(rng.permutation(rows), -(-len(rows) // _BLOCK)) for rows in self.held]
        self.variates: list[list[tuple[Floats, Floats]]] = []  # by fold and view; rows as in ``held``
        for each, rows in enumerate(self.held):
            fitted = np.flatnonzero((fold != each) & kept)
            self.variates.append([Canonical.fit(x[fitted], y[fitted]).variates(x[rows], y[rows]) for x, y in views])
        self.believed = [
            self._from_others(np.stack(found)) for found in zip(*map(self._measured, range(FOLDS)), strict=True)
        ]
        self.weights = self._weighed(len(views))

    def judged(self) -> tuple[Floats, Floats]:
        """Scores and chances of all pairs ``(N,)``."""
        scores, chances = np.zeros(len(self.groups)), np.zeros(len(self.groups))
        for fold in range(FOLDS):
            for rows, stack in self._evidence(fold):
                fit = _standard(np.tensordot(self.weights[fold], stack, 1), apart := self._apart(rows))
                wrong = np.sort(fit[apart])
                scores[rows] = np.diag(fit)
                chances[rows] = 1 - np.searchsorted(wrong, np.diag(fit)) / len(wrong)
        return scores, chances

    def _measured(self, fold: int) -> list[Floats]:
        kept = self.kept[self.held[fold]]
        return [correlations(u[kept], v[kept]) for u, v in self.variates[fold]]

    @staticmethod
    def _from_others(measured: Floats) -> Floats:
        """The mean of the other folds for each ``(FOLDS, c)``."""
        others: Floats = (measured.sum(axis=0) - measured) / (FOLDS - 1)
        return others

    def _evidence(self, fold: int) -> Iterator[tuple[Ints, Floats]]:
        """Rows of each block of a fold, and the evidence of each view for all pairs among them ``(V, b, b)``."""
        place = {int(row): index for index, row in enumerate(self.held[fold])}
        for rows in self.blocks[fold]:
            at = [place[int(row)] for row in rows]
            found = zip(self.variates[fold], self.believed, strict=True)
            yield rows, np.stack([evidence(u[at], v[at], believed[fold]) for (u, v), believed in found])

    def _apart(self, rows: Ints) -> NDArray[np.bool_]:
        """Which pairs among ``rows`` are of two groups, and so certainly wrong ones."""
        apart: NDArray[np.bool_] = self.groups[rows][:, None] != self.groups[rows][None, :]
        return apart

    def _weighed(self, count: int) -> Floats:
        """Weights of the views for each fold, from a logistic regression of right against wrong pairs of the others."""
        if count == 1:
            return np.ones((FOLDS, 1))
        right: list[list[Floats]] = [[] for _ in range(FOLDS)]
        wrong: list[list[Floats]] = [[] for _ in range(FOLDS)]
        for fold in range(FOLDS):
            for rows, stack in self._evidence(fold):
                own = stack[:, np.arange(len(rows)), np.arange(len(rows))].T[self.kept[rows]]
                others = np.flatnonzero(self._apart(rows))
                chosen = self.rng.choice(others, min(len(others), _WRONG * len(own)), replace=False)
                right[fold].append(own)
                wrong[fold].append(stack.reshape(count, -1)[:, chosen].T)
        found = []
        for fold in range(FOLDS):
            taken = [each for each in range(FOLDS) if each != fold]
            yes, no = (np.concatenate([part for each in taken for part in kind[each]]) for kind in (right, wrong))
            every = np.concatenate([yes, no])
            scale = np.maximum(every.std(axis=0), 1e-9)
            model = LogisticRegression().fit(every / scale, np.repeat([1, 0], [len(yes), len(no)]))
            weights = np.maximum(model.coef_[0], 0) / scale
            found.append(weights if weights.any() else 1 / scale)
        return np.stack(found)


def _standard(fit: Floats, apart: NDArray[np.bool_]) -> Floats:
    """Evidence ``(b, b)`` in deviations from that of wrong pairs, by source and by target, both added."""
    total: Floats = np.zeros_like(fit)
    for axis in (0, 1):
        count = np.maximum(apart.sum(axis=axis, keepdims=True), 1)
        mean = (fit * apart).sum(axis=axis, keepdims=True) / count
        spread = np.sqrt((((fit - mean) * apart) ** 2).sum(axis=axis, keepdims=True) / count)
        total += (fit - mean) / np.maximum(spread, 1e-9)
    return total
