"""Which few masks are labelled."""

from __future__ import annotations

from typing import Literal

import numpy as np

from crossdistill.evaluation.intervals import Ints
from crossdistill.seeds import derive_seed

_FEW = 31  # what a seed is for


def few_masks(groups: Ints, count: int | Literal["all"], draw: int, seed: int) -> Ints:
    """Positions of ``count`` masks, sorted; the same for every method that is compared.

    Groups are taken in random order, one random mask of each, and again from the first when all had their turn: so many
    masks show as many different objects or scenes as they can. The choice of fewer masks is part of that of more.

    Args:
        groups: of all masks, ``(N,)``.
        count: how many, at most ``N``.
        draw: number of the draw.
        seed: of all draws.
    """
    if count == "all":
        return np.arange(len(groups))
    if count > len(groups):
        raise ValueError(f"there are {len(groups)} masks, fewer than {count}")
    rng = np.random.default_rng(derive_seed(seed, _FEW, draw))
    shuffled = rng.permutation(len(groups))
    turn: dict[int, int] = {}
    rounds = np.empty(len(groups), dtype=np.int64)
    for place, position in enumerate(shuffled):
        group = int(groups[position])
        rounds[place] = turn.get(group, 0)
        turn[group] = rounds[place] + 1
    chosen = shuffled[np.argsort(rounds, kind="stable")][:count]
    return np.sort(chosen)
