"""Canonical correlations of two spaces, on held-out groups."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from crossdistill.distance.measured import FOLDS, Measured, cross_validated, folds_p, permutation_p, with_bootstrap
from crossdistill.distance.ridge import Decomposed
from crossdistill.distance.samples import Samples, folds, one_per_group, pairs
from crossdistill.evaluation.intervals import Floats, Ints

COMPONENTS = 8
_INNER = 3
_MOST = 128  # principal components of each side that enter
_RIDGES = (1e-3, 1e-2, 0.1, 1.0, 10.0)  # relative to the mean variance of a component


def canonical_correlation(
    source: ArrayLike, target: ArrayLike, groups: ArrayLike | None = None, *, components: int = COMPONENTS,
    seed: int = 0, draws: int = 200,
) -> Measured:  # fmt: skip
    """The mean correlation, on held-out groups, of the leading pairs of directions that correlate most on the others.

    Canonical correlation analysis (Hotelling, 1936) with ridge regularisation (Vinod, 1976) of at most 128 principal
    components a side; how much ridge is chosen by cross-validation within the items fitted to. Correlations are those
    within each held-out fold, averaged over folds and components. Without held-out items every correlation would be 1
    as soon as there are more dimensions than items. The interval is around what fits to so many items find, the
    p-value permutes held-out partners.

    Fails: it counts directions alike, whatever their variance, so a high value can rest on directions that carry
    little. With few items it is far below the truth. Where fewer directions correlate than are averaged, the others
    pull it to zero. What is beyond the 128 components is not seen, however many items there are.

    Args:
        source: ``(n, d)``.
        target: ``(n, e)``.
        groups: ``(n,)``.
        components: pairs of directions that are averaged, or as many as there are dimensions.
        seed: of folds, interval and permutations.
        draws: of the bootstrap and of permutations.

    Raises:
        ValueError: no pairs, see `crossdistill.distance.samples.pairs`; fewer than one component.
    """
    samples = pairs(source, target, groups)
    if components < 1:
        raise ValueError(f"{components} components: at least one is needed")
    rng = np.random.default_rng((seed, 10))
    fold = folds(samples.groups, FOLDS, rng)
    weights = with_bootstrap(samples.strata, draws, rng)
    items = one_per_group(samples.groups, rng)
    found, p_values = [], []
    for number in range(FOLDS):
        rest, rows = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        u, v = _fit(samples, rest, components, rng).variates(samples.source[rows], samples.target[rows])
        found.append(_correlations(u, v, weights[:, samples.groups[rows]]).mean(axis=1))
        independent = np.isin(rows, items)
        one, other = u[independent], v[independent]
        orders = [np.arange(len(one)), *(rng.permutation(len(one)) for _ in range(draws))]
        even = np.ones((1, len(one)))
        both = np.array([float(_correlations(one, other[order], even).mean()) for order in orders])
        p_values.append(permutation_p(both[0], both[1:]))
    value = float(np.mean([each[0] for each in found]))
    low, high = cross_validated(value, np.mean([each[1:] for each in found], axis=0), -1.0, 1.0)
    return Measured(
        name="cca", value=value, low=low, high=high, interval="cross-validation", farther="lower",
        p_value=folds_p(p_values), items=samples.items,
        note="counts directions alike whatever their variance; low where many dimensions meet few items",
    )  # fmt: skip


@dataclass(frozen=True)
class _Canonical:
    """Directions of both sides: principal components, and their weights ``(k, c)``."""

    source: Decomposed
    target: Decomposed
    weights: tuple[Floats, Floats]

    @classmethod
    def fit(cls, source: Decomposed, target: Decomposed, ridge: float, components: int) -> _Canonical:
        # Principal components are uncorrelated, so whitening them is a division.
        scales = [1 / np.sqrt(side.singular**2 + ridge * (side.singular**2).mean()) for side in (source, target)]
        shrunk = [side.left * (side.singular * scale) for side, scale in zip((source, target), scales, strict=True)]
        left, _, right = np.linalg.svd(shrunk[0].T @ shrunk[1], full_matrices=False)
        kept = left[:, :components], right.T[:, :components]
        return cls(source, target, (scales[0][:, None] * kept[0], scales[1][:, None] * kept[1]))

    def variates(self, source: Floats, target: Floats) -> tuple[Floats, Floats]:
        """Both sides of new pairs in the common directions ``(t, c)``."""
        first, second = self.weights
        return self.source.coordinates(source) @ first, self.target.coordinates(target) @ second


def _fit(samples: Samples, rows: Ints, components: int, rng: np.random.Generator) -> _Canonical:
    """With the ridge whose correlations on left-out folds are highest."""
    inner = folds(samples.groups[rows], _INNER, rng)
    gains = np.zeros(len(_RIDGES))
    for number in range(_INNER):
        rest, out = rows[inner != number], rows[inner == number]
        sides = Decomposed(samples.source[rest], _MOST), Decomposed(samples.target[rest], _MOST)
        for place, ridge in enumerate(_RIDGES):
            u, v = _Canonical.fit(*sides, ridge, components).variates(samples.source[out], samples.target[out])
            gains[place] += float(_correlations(u, v, np.ones((1, len(out)))).mean())
    sides = Decomposed(samples.source[rows], _MOST), Decomposed(samples.target[rows], _MOST)
    return _Canonical.fit(*sides, _RIDGES[int(gains.argmax())], components)


def _correlations(u: Floats, v: Floats, weights: Floats) -> Floats:
    """Weighted correlations ``(draws, c)`` of each column of u with that of v ``(t, c)``; 0 for a constant."""
    share = weights / np.maximum(weights.sum(axis=1, keepdims=True), 1e-300)
    means = share @ u, share @ v
    between = share @ (u * v) - means[0] * means[1]
    own = (share @ u**2 - means[0] ** 2) * (share @ v**2 - means[1] ** 2)
    return np.where(own > 1e-300, between / np.sqrt(np.maximum(own, 1e-300)), 0.0)
