"""A part of the pairs, or of the sources alone, drawn by whole groups: for curves over their number."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from crossdistill.pairs.table import Pair, Pairs


def keep_pairs(pairs: Pairs, share: float, seed: int) -> Pairs:
    """The same items with only a share of the training pairs: the others become one row for each of their sides.

    Whole groups are drawn (see ``Pairs.group_ids``), until that share of the training pairs is reached: with one seed
    what is kept of a smaller share is kept of a larger one, too. Rows of val and test stay pairs. Labels stay on both
    sides, so that probes see the same labelled items; an item that was in several pairs is one row.

    Args:
        pairs: with splits.
        share: of the training pairs, in (0, 1]; at least one group is kept.
        seed: of the draw.
    """
    if share == 1:
        return pairs
    kept = _drawn_groups(pairs, pairs.where("train", has=("source", "target")), share, seed)
    return pairs.with_rows(_taken_apart(pairs, kept))


def share_of_rows(pairs: Pairs, rows: Sequence[int], share: float, seed: int) -> list[int]:
    """Some of ``rows``, by whole groups, which are drawn as :func:`keep_pairs` draws them.

    Args:
        pairs: that the rows are of.
        rows: to draw from.
        share: of the rows, in (0, 1]; at least one group is kept.
        seed: of the draw.
    """
    if share == 1:
        return list(rows)
    kept = _drawn_groups(pairs, rows, share, seed)
    return [row for row in rows if pairs.group_ids[row] in kept]


def _drawn_groups(pairs: Pairs, rows: Sequence[int], share: float, seed: int) -> set[int]:
    """Groups in an order of the seed's, until they hold that share of the rows."""
    members: dict[int, int] = {}
    for row in rows:
        members[pairs.group_ids[row]] = members.get(pairs.group_ids[row], 0) + 1
    groups, wanted = list(members), share * sum(members.values())
    kept: set[int] = set()
    count = 0
    for place in np.random.default_rng(seed).permutation(len(groups)):
        if count >= wanted and kept:
            break
        kept.add(groups[place])
        count += members[groups[place]]
    return kept


def _taken_apart(pairs: Pairs, kept: set[int]) -> Iterator[Pair]:
    # An item that has a row of its own already gets no second one.
    alone = {("", str(pair.target)) if pair.source is None else (str(pair.source), "")
             for pair in pairs if not pair.paired}  # fmt: skip
    for row, pair in enumerate(pairs):
        if not pair.paired or pair.split != "train" or pairs.group_ids[row] in kept:
            yield pair
            continue
        for key, half in (
            ((str(pair.source), ""), replace(pair, target=None, mask=None)),
            (("", str(pair.target)), replace(pair, source=None)),
        ):
            if key not in alone:
                alone.add(key)
                yield half
