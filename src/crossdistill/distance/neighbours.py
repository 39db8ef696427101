"""Do two spaces agree on who is near? The share of nearest neighbours that are the same in both."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crossdistill.distance.measured import Measured, normal, permutation_p
from crossdistill.distance.samples import pairs, several_per_group, unit_rows
from crossdistill.evaluation.intervals import Floats

NEIGHBOURS = 10


def mutual_neighbours(
    source: ArrayLike, target: ArrayLike, groups: ArrayLike | None = None, *, neighbours: int = NEIGHBOURS,
    seed: int = 0, draws: int = 200,
) -> Measured:  # fmt: skip
    """The share of an item's k nearest neighbours, by cosine, that are the same in both spaces, averaged over items.

    Source: Huh et al., arXiv 2405.07987. It is 1 for the same space and `chance_level` for independent ones. Items of
    one group would be neighbours for no interesting reason: one random item of each group is taken, several times over.
    The interval is the jackknife's, which is wide rather than narrow (Efron and Stein, Annals of Statistics 9, 1981);
    the p-value permutes the partners.

    Fails: it depends on k and on the number of items, and compares across data sets only where both are the same.
    Hubs, items that are near to all others in high dimension, count many times.

    Args:
        source: ``(n, d)``.
        target: ``(n, e)``.
        groups: ``(n,)``.
        neighbours: k, at most half of the number of groups.
        seed: of the items that are drawn and of permutations.
        draws: number of permutations.

    Raises:
        ValueError: no pairs, see `crossdistill.distance.samples.pairs`; a vector that is zero; too many neighbours.
    """
    samples = pairs(source, target, groups)
    if not 1 <= neighbours <= samples.count // 2:
        raise ValueError(f"{neighbours} neighbours among {samples.count} groups: between 1 and {samples.count // 2}")
    rng = np.random.default_rng((seed, 16))
    x, y = unit_rows(samples.source), unit_rows(samples.target)
    chosen = [
        (_Nearest(x[rows], neighbours), _Nearest(y[rows], neighbours)) for rows in several_per_group(samples, rng)
    ]
    values = [_shared(one.near, other.near) for one, other in chosen]
    value, variance = float(np.mean(values)), float(np.mean([_jackknife(*each) for each in chosen]))
    low, high = normal(value, variance, 0.0, 1.0)
    mine, theirs = chosen[0][0].near, chosen[0][1].near
    orders = [rng.permutation(samples.count) for _ in range(draws)]
    permuted = np.array([_shared(mine, theirs[np.ix_(order, order)]) for order in orders])
    chance = chance_level(samples.count, neighbours)
    return Measured(
        name="mutual_neighbours", value=value, low=low, high=high, interval="jackknife",
        p_value=permutation_p(values[0], permuted), farther="lower", items=samples.items,
        note=f"depends on the number of items; chance is {chance:.3g} for {neighbours} neighbours",
    )  # fmt: skip


def chance_level(items: int, neighbours: int = NEIGHBOURS) -> float:
    """What `mutual_neighbours` of ``items`` (one a group) is for independent spaces: ``k / (n - 1)``."""
    return neighbours / (items - 1)


class _Nearest:
    """Whether j is among the k nearest of i ``(n, n)``, and who would be, were one of them taken away ``(n,)``."""

    def __init__(self, rows: Floats, count: int) -> None:
        similarity = rows @ rows.T
        np.fill_diagonal(similarity, -np.inf)
        order = np.argsort(-similarity, axis=1, kind="stable")
        self.near: NDArray[np.bool_] = np.zeros(similarity.shape, dtype=np.bool_)
        np.put_along_axis(self.near, order[:, :count], True, axis=1)
        self.next = order[:, count]


def _shared(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    return float((one & other).sum() / one.sum())


def _jackknife(one: _Nearest, other: _Nearest) -> float:
    """The variance of `_shared` from leaving out each item in turn, as a query and as a neighbour of others."""
    count = len(one.near)
    everyone = np.arange(count)
    mine, theirs = other.near[everyone, one.next], one.near[everyone, other.next]  # does the next one count at once?
    both = mine.astype(np.int64) + theirs + (one.next == other.next) - 1
    # What the neighbours shared by i (row) change by when j (column) is left out.
    change = np.where(one.near & other.near, both[:, None], 0)
    change += np.where(one.near & ~other.near, mine[:, None], 0) + np.where(~one.near & other.near, theirs[:, None], 0)
    shared = (one.near & other.near).sum(axis=1)
    without = (shared.sum() - shared + change.sum(axis=0)) / (int(one.near[0].sum()) * (count - 1))
    return float((count - 1) / count * ((without - without.mean()) ** 2).sum())
